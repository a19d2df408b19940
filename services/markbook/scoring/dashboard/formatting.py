"""Numbers, times and foreign text as the page writes them.

A number and its unit are never parted.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

NBSP = "\N{NO-BREAK SPACE}"
NONE = "\N{EN DASH}"
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def count(number: int) -> str:
    return f"{number:,}"


def compact(number: float) -> str:
    """At most four characters of digits: 999, 1.2 k, 34.6 M."""
    for size, prefix in _PREFIXES:
        if abs(number) >= size * 0.9995:
            digits = 0 if abs(number) >= 99.95 * size else 1 if abs(number) >= 9.995 * size else 2
            return f"{number / size:.{digits}f}{NBSP}{prefix}"
    return f"{number:.3g}" if not 0 < abs(number) < 1e-3 else f"{number:.7f}".rstrip("0")


def usd(dollars: float | None) -> str:
    """Two decimals from $1, more below, so that small amounts stay apart; None: the price is
    unknown.
    """
    if dollars is None:
        return "price unknown"
    if dollars >= 1 or not dollars:
        return f"${dollars:,.2f}"
    if dollars < 1e-6:
        return "< $0.000001"
    return f"${dollars:.{max(4, 1 - math.floor(math.log10(dollars)))}f}"


def percent(part: float, whole: float) -> str:
    if not whole:
        return NONE
    share = 100 * part / whole
    return (
        f"{share:.0f}{NBSP}%" if share in (0, 100) or 10 <= share <= 99 else f"{share:.1f}{NBSP}%"
    )


def seconds(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NONE
    decimals = 2 if milliseconds < 1000 else 1 if milliseconds < 10_000 else 0
    return f"{milliseconds / 1000:.{decimals}f}{NBSP}s"


def format_time(at_ms: int) -> str:
    """`2026-11-22 18:30` in UTC: without scripts the page cannot know the reader's time zone."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def utc_ms(time: datetime) -> int:
    """Unix milliseconds; UTC where the time names no zone."""
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def visible(text: str) -> str:
    """Untrusted text with control and bidirectional characters spelled out, so that it reads as
    it was judged.
    """
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))
