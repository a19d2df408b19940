"""The ledger's sums as the page needs them: in all, by bucket and by run, of the runs that its reader may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markbook.contract import Counters, Source
from markbook.scoring.api.stats import to_counters
from markbook.scoring.dashboard.time_range import Frame
from markbook.scoring.store import CounterTotals, Rollups

ANSWERED = (Source.CACHE, Source.COALESCED)
"""Sources of marks that somebody had paid for already."""


@dataclass(frozen=True)
class Account:
    frame: Frame
    total: CounterTotals
    buckets: Sequence[CounterTotals]
    runs: dict[str, CounterTotals]
    """Those with the highest bills first."""
    cells: dict[tuple[int, str], CounterTotals]
    """By bucket and run."""

    @cached_property
    def counters(self) -> Counters:
        return to_counters(self.total)


def build_totals(sums: Rollups, frame: Frame) -> Account:
    total, buckets = CounterTotals(), [CounterTotals() for _ in range(frame.buckets)]
    runs: defaultdict[str, CounterTotals] = defaultdict(CounterTotals)
    cells: dict[tuple[int, str], CounterTotals] = {}
    for (start_ms, run), tally in sums.tallies.items():
        index = frame.index(start_ms)
        if 0 <= index < frame.buckets:
            for each in (total, buckets[index], runs[run]):
                each.add(tally)
            cells[index, run] = tally
    ranked = sorted(runs, key=lambda run: (-nusd(runs[run]), -tokens(runs[run]), -runs[run].counts["samples"], run))
    return Account(frame, total, buckets, {run: runs[run] for run in ranked}, cells)


def sent(tally: CounterTotals) -> int:
    counts = tally.counts
    return counts["input_tokens"] + counts["cache_read_input_tokens"] + counts["cache_creation_input_tokens"]


def tokens(tally: CounterTotals) -> int:
    """Sent and received."""
    return sent(tally) + tally.counts["output_tokens"]


def nusd(tally: CounterTotals) -> int:
    return tally.counts["cost_nusd"]


def hits(tally: CounterTotals) -> int:
    return sum(tally.counts[source.value] for source in ANSWERED)


def asked(tally: CounterTotals) -> int:
    """Samples that passed the heuristic tier and their tests: a hit or a call of the teacher, whatever became of it."""
    return tally.counts["samples"] - tally.counts[Source.HEURISTIC.value] - tally.counts[Source.TESTS.value]
