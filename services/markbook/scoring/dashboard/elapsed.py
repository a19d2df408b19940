"""Time since the start of a run, in buckets: for runs of different days over each other."""

from __future__ import annotations

from dataclasses import dataclass

from markbook.scoring.dashboard.time_range import TimeRange, pick_step

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class ElapsedRange(TimeRange):
    """Begins at 0, the start of every run that is shown."""

    @property
    def zone(self) -> str:
        return ""

    @property
    def column(self) -> str:
        return "after"

    def label(self, index: int) -> str:
        return elapsed(self.first_ms + index * self.step_ms)

    def moment(self, at_ms: int) -> str:
        return elapsed(at_ms)

    def tick_label(self, at_ms: int, step_ms: int) -> str:
        return elapsed(at_ms)


def elapsed(ms: int) -> str:
    """`45 min`, `1 h 20 min`, `2 d 3 h`: the two largest units that are not 0."""
    days, hours, minutes = ms // _DAY_MS, ms % _DAY_MS // _HOUR_MS, ms % _HOUR_MS // _MINUTE_MS
    parts = [
        f"{number} {unit}"
        for number, unit in ((days, "d"), (hours, "h"), (minutes, "min"))
        if number
    ]
    return " ".join(parts[:2]) or "0 min"


def cut_elapsed(starts_ms: list[int], ends_ms: list[int]) -> tuple[ElapsedRange, list[TimeRange]]:
    """One range for all runs, and each run's own, of the same buckets, from its start (in Unix
    ms) on.
    """
    longest = max(end - start for start, end in zip(starts_ms, ends_ms, strict=True))
    # where minutes were compacted, all counts of an hour are at its start
    step_ms = pick_step(_MINUTE_MS, longest)
    buckets = longest // step_ms + 2
    own = [TimeRange(start - start % step_ms, step_ms, buckets) for start in starts_ms]
    return ElapsedRange(0, step_ms, buckets), own
