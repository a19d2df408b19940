"""Reads responses leniently: servers that nearly implement the Messages API omit fields or fill them differently.

Nothing here raises: the call is paid for, and the SDK returns whatever was sent, of whatever type.
"""

from __future__ import annotations

import re
from typing import Any

from markbook.scoring.teachers.anthropic.pricing import Tokens

_KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_ABSURD = 2**31  # tokens in one call, more than a column holds


def count_tokens(message: object, ttl: str) -> Tokens | None:
    """The provider's token counts, missing ones as 0; None if all are missing or one is not a count."""
    usage = getattr(message, "usage", None)
    counts = [getattr(usage, kind, None) for kind in _KINDS]
    given = [count for count in counts if count is not None]
    if not given or not all(_is_count(count) for count in given):
        return None
    fresh, out, read, written = (count or 0 for count in counts)
    hour = _for_an_hour(getattr(usage, "cache_creation", None), written, ttl)
    return Tokens(fresh, out, read, written - hour, hour)


def get_text(message: object) -> str:
    """All text of the response, "" if there is none."""
    content = getattr(message, "content", None)
    blocks: list[Any] = content if isinstance(content, list) else []
    texts = [getattr(block, "text", None) for block in blocks if getattr(block, "type", None) == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def classify_wording(message: object) -> str:
    """The category of a refusal, "" if none is given."""
    return str(getattr(getattr(message, "stop_details", None), "category", None) or "")


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a retry-after header, None if it is missing or not a number of seconds."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def whole_number(header: str | None) -> int | None:
    """The integer in a header, None unless it has 1 to 18 ASCII digits."""
    if header is None or not re.fullmatch(r"[0-9]{1,18}", header):
        return None
    return int(header)


def _for_an_hour(lives: object, written: int, ttl: str) -> int:
    """How many of the `written` tokens live for an hour; as requested by `ttl` where the response does not say."""
    hour, minutes = (getattr(lives, f"ephemeral_{life}_input_tokens", None) for life in ("1h", "5m"))
    if hour is None and minutes is None:
        return written if ttl == "1h" else 0
    return min(max(hour, 0), written) if isinstance(hour, int) and not isinstance(hour, bool) else 0


def _is_count(value: object) -> bool:
    """Whether it is an int in range; a bool is an int to Python, but not a count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _ABSURD
