"""Reads responses leniently: servers that nearly implement the Messages API omit fields or fill
them differently.

Nothing here raises: the call is paid for, and the SDK returns whatever was sent, of whatever type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from markbook.contract import ErrorCode
from markbook.scoring.teachers.anthropic.pricing import Tokens
from markbook.scoring.types import Exchange, Judgment, ScoringFailure

_KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_TOO_LONG = re.compile(
    r"context (?:length|window|size)|max_(?:model_)?(?:tokens|len)|too (?:long|many tokens)", re.I
)
"""How servers put it that prompt and reply together do not fit: Anthropic, vLLM, SGLang,
llama.cpp.
"""
_ABSURD = 2**31  # tokens in one call, more than a column holds


def count_tokens(message: object, ttl: str) -> Tokens | None:
    """The provider's token counts, missing ones as 0; None if all are missing or one is not a
    count.
    """
    usage = getattr(message, "usage", None)
    counts = [getattr(usage, kind, None) for kind in _KINDS]
    given = [count for count in counts if count is not None]
    if not given or not all(_is_count(count) for count in given):
        return None
    fresh, out, read, written = (count or 0 for count in counts)
    hour = _for_an_hour(getattr(usage, "cache_creation", None), written, ttl)
    return Tokens(fresh, out, read, written - hour, hour)


def get_text(message: object) -> str:
    """All text of the response, possibly ""."""
    content = getattr(message, "content", None)
    blocks: list[Any] = content if isinstance(content, list) else []
    texts = [
        getattr(block, "text", None) for block in blocks if getattr(block, "type", None) == "text"
    ]
    return "".join(text for text in texts if isinstance(text, str))


def with_exchange(
    outcomes: Sequence[Judgment | ScoringFailure], exchange: Exchange
) -> tuple[Judgment | ScoringFailure, ...]:
    """The outcomes, each judgment with the exchange that brought it; half a character in the
    reply is replaced.
    """
    kept = replace(exchange, reply=exchange.reply.encode(errors="replace").decode())
    return tuple(
        replace(each, exchange=kept) if isinstance(each, Judgment) else each for each in outcomes
    )


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
    """How many of the `written` tokens live for an hour; as requested by `ttl` where the
    response does not say.
    """
    hour, minutes = (
        getattr(lives, f"ephemeral_{life}_input_tokens", None) for life in ("1h", "5m")
    )
    if hour is None and minutes is None:
        return written if ttl == "1h" else 0
    return min(max(hour, 0), written) if isinstance(hour, int) and not isinstance(hour, bool) else 0


def _is_count(value: object) -> bool:
    """Whether it is an int in range; a bool is an int to Python, but not a count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _ABSURD


def refusal(message: object) -> ScoringFailure:
    """The failure of a sample that the provider refused to judge."""
    category = classify_wording(message)
    return ScoringFailure(
        ErrorCode.TEACHER_REFUSED,
        f"the teacher refused to score this sample{category and f' ({category})'}",
    )


def no_marks_within(max_tokens: int) -> ScoringFailure:
    """The failure of a reply of another server's model that was cut off before its first mark."""
    return ScoringFailure(
        ErrorCode.REPLY_TRUNCATED,
        f"the reply reached its limit of {max_tokens} tokens before a mark; if this model thinks "
        "before it answers, set teacher.thinking_tokens or switch its thinking off at the server",
    )


def explain_status(status: int, kind: str, message: str) -> str:
    """An error response in one line, with the settings that change the length of a request where
    that is the cause.
    """
    detail = f"the teacher returned {status} {kind}: {message[:300]}"
    if status == 400 and _TOO_LONG.search(message):
        return (
            f"{detail}; lower teacher.thinking_tokens, teacher.max_group_size or "
            "rlaif.prompt_context_chars"
        )
    return detail
