"""The time range on display, divided into as many buckets as can be distinguished on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from markbook.scoring.store import HOUR_MS, MINUTE_RETENTION_MS

MAX_BUCKETS = 60
_MINUTE_MS = HOUR_MS // 60
_DAY_MS = 24 * HOUR_MS
_STEPS_MS = (
    *(minutes * _MINUTE_MS for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR_MS for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY_MS for days in (1, 2, 4, 7, 14, 30, 60, 120, 365, 1461)),
)
_MAX_TICKS = 5
_MIN_AUTO_MS = 10 * _MINUTE_MS
"""Shortest range of period AUTO: what follows a first sample has room."""


class Period(StrEnum):
    """AUTO: the smallest range that holds all activity, which may have ended."""

    AUTO = "auto"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    ALL = "all"


_LENGTHS_MS = {Period.HOUR: HOUR_MS, Period.DAY: _DAY_MS, Period.WEEK: 7 * _DAY_MS}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """`buckets` of `step_ms` each from `first_ms` (a multiple of the step) to the one that
    contains now.
    """

    first_ms: int
    step_ms: int
    buckets: int

    def index(self, start_ms: int) -> int:
        return (start_ms - self.first_ms) // self.step_ms

    @property
    def end_ms(self) -> int:
        return self.first_ms + self.buckets * self.step_ms

    @property
    def zone(self) -> str:
        """Behind a label where it stands alone."""
        return " UTC"

    @property
    def column(self) -> str:
        """The head of a column of labels."""
        return "from, UTC"

    def moment(self, at_ms: int) -> str:
        """A time within the range, to the minute."""
        return f"{_utc(at_ms):%Y-%m-%d %H:%M}"

    def label(self, index: int) -> str:
        at = _utc(self.first_ms + index * self.step_ms)
        return f"{at.day} {at:%b}" if self.step_ms >= _DAY_MS else f"{at.day} {at:%b %H:%M}"

    def ticks(self) -> list[tuple[float, str]]:
        """Tick positions at round times, as shares of the width, with labels."""
        span = self.buckets * self.step_ms
        steps = (step for step in _STEPS_MS if step >= self.step_ms and span / step <= _MAX_TICKS)
        step = next(steps, _STEPS_MS[-1])
        first = -(-self.first_ms // step) * step
        return [
            ((at_ms - self.first_ms) / span, self.tick_label(at_ms, step))
            for at_ms in range(first, self.first_ms + span, step)
        ]

    def tick_label(self, at_ms: int, step_ms: int) -> str:
        at = _utc(at_ms)
        if self.buckets * self.step_ms > 300 * _DAY_MS:
            return f"{at:%b %Y}"
        return f"{at.day} {at:%b}" if step_ms >= _DAY_MS or at_ms % _DAY_MS == 0 else f"{at:%H:%M}"


def resolve_time_range(period: Period, now_ms: int, active: tuple[int, int] | None) -> TimeRange:
    """`active`: times of the first and the last activity; None without any."""
    first_ms, last_ms = active or (now_ms, now_ms)
    if period is Period.AUTO:
        # where minutes were compacted, all counts of an hour are at its start
        least_ms = HOUR_MS if first_ms < now_ms - MINUTE_RETENTION_MS else _MINUTE_MS
        return _cut(first_ms, max(last_ms, first_ms + _MIN_AUTO_MS - 1), least_ms)
    length = _LENGTHS_MS.get(period) or max(now_ms - first_ms, HOUR_MS)
    return _cut(now_ms - length, now_ms, _MINUTE_MS)


def _cut(from_ms: int, until_ms: int, least_ms: int) -> TimeRange:
    """At most MAX_BUCKETS buckets, and one for where the first is cut, of at least `least_ms`."""
    step = pick_step(least_ms, until_ms - from_ms)
    first = from_ms // step * step
    return TimeRange(first, step, (until_ms - first) // step + 1)


def pick_step(least_ms: int, length_ms: int) -> int:
    """The smallest bucket, of at least `least_ms`, of which MAX_BUCKETS cover `length_ms`."""
    fitting = (step for step in _STEPS_MS if step >= least_ms and length_ms <= step * MAX_BUCKETS)
    return next(fitting, _STEPS_MS[-1])


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
