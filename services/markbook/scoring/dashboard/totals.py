"""The ledger's rollups for the dashboard: in total, by bucket and by run, of the runs visible to
the viewer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from markbook.contract import Counters, Source
from markbook.scoring.api.stats import to_counters
from markbook.scoring.dashboard.time_range import TimeRange
from markbook.scoring.store import CounterTotals, Rollups
from markbook.scoring.store.summation import add_up

PAID_BEFORE = (Source.CACHE, Source.COALESCED)
"""Sources of marks that had been paid for already."""


@dataclass(frozen=True)
class Totals:
    time_range: TimeRange
    total: CounterTotals
    buckets: Sequence[CounterTotals]
    runs: dict[str, CounterTotals]
    """In order of cost, highest first."""
    by_run: Mapping[str, Mapping[int, CounterTotals]]
    """Of each run by bucket, without the buckets in which it has none."""

    @cached_property
    def counters(self) -> Counters:
        return to_counters(self.total)


def build_totals(sums: Rollups, time_range: TimeRange) -> Totals:
    by_bucket: list[list[CounterTotals]] = [[] for _ in range(time_range.buckets)]
    by_run: defaultdict[str, dict[int, CounterTotals]] = defaultdict(dict)
    for (start_ms, run), tally in sums.tallies.items():
        index = time_range.index(start_ms)
        if 0 <= index < time_range.buckets:
            by_run[run][index] = tally
            by_bucket[index].append(tally)
    buckets = [add_up(each) for each in by_bucket]
    runs = {run: add_up([*tallies.values()]) for run, tallies in by_run.items()}
    ranked = sorted(
        runs,
        key=lambda run: (
            -cost_nusd(runs[run]),
            -total_tokens(runs[run]),
            -runs[run].counts["samples"],
            run,
        ),
    )
    return Totals(time_range, add_up(buckets), buckets, {run: runs[run] for run in ranked}, by_run)


def tokens_sent(tally: CounterTotals) -> int:
    counts = tally.counts
    return (
        counts["input_tokens"]
        + counts["cache_read_input_tokens"]
        + counts["cache_creation_input_tokens"]
    )


def total_tokens(tally: CounterTotals) -> int:
    """Sent and received."""
    return tokens_sent(tally) + tally.counts["output_tokens"]


def cost_nusd(tally: CounterTotals) -> int:
    return tally.counts["cost_nusd"]


def hits(tally: CounterTotals) -> int:
    return sum(tally.counts[source.value] for source in PAID_BEFORE)


def lookups(tally: CounterTotals) -> int:
    """Samples that passed the heuristic tier and their tests: each is a hit or needs the
    teacher.
    """
    return (
        tally.counts["samples"]
        - tally.counts[Source.HEURISTIC.value]
        - tally.counts[Source.TESTS.value]
    )
