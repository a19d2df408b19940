"""The charts that show whether the students learn: mean marks, reported evaluations, and the
marks' histogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from markbook.contract import MARK, PASS_AT_1
from markbook.scoring.dashboard.charts import NAMED_RUNS, OTHERS, TONES
from markbook.scoring.dashboard.learning_svg import Report, curves, histogram, score
from markbook.scoring.dashboard.svg import Chart, Series
from markbook.scoring.dashboard.totals import Totals
from markbook.scoring.store import CounterTotals, score_sums
from markbook.scoring.store.run_metrics import ReportedMetric
from markbook.scoring.store.summation import sum_columns

REPORTED = (MARK, PASS_AT_1)
MAX_REPORTS = 2_000
"""Values read for a page, the newest."""
EVALUATIONS = "/eval"
"""The trainer has the samples of its evaluations marked under the run's name with this at its
end.
"""


def named_runs(totals: Totals, reporting: Collection[str]) -> list[str]:
    """The runs that are drawn by name: those of the highest cost, then those that have only
    reported.

    The evaluations of a run that reports them are left out: they are its diamonds.
    """
    runs = [run for run in totals.runs if not _is_reported(run, reporting)]
    return [*runs, *sorted(set(reporting) - set(runs))][:NAMED_RUNS]


def build_learning_charts(
    totals: Totals,
    reported: Sequence[ReportedMetric],
    reporting: Collection[str],
    link: Callable[[str], str],
) -> list[Chart]:
    """`reported`: values of the named runs.

    `reporting`: all runs that have reported. `link`: as for `build_charts`.
    """
    time_range = totals.time_range
    runs = named_runs(totals, reporting)
    tones = dict(zip(runs, TONES, strict=False))
    reports = {name: _reports(totals, reported, name, tones) for name in REPORTED}
    columns = [_bins(tally) for tally in totals.buckets]
    return [
        curves(
            "marks",
            "Mean mark by run",
            "diamonds: evaluations",
            time_range,
            _mean_series(totals, tones, reporting, link),
            reports[MARK],
            "evaluation",
        ),
        curves(
            "pass",
            "pass@1 by run",
            "of evaluations",
            time_range,
            [],
            reports[PASS_AT_1],
            "pass@1",
        ),
        histogram("histogram", "Marks by range", "share over time", time_range, columns),
    ]


def _is_reported(run: str, reporting: Collection[str]) -> bool:
    return run.endswith(EVALUATIONS) and run.removesuffix(EVALUATIONS) in reporting


def _mean_series(
    totals: Totals, tones: Mapping[str, str], reporting: Collection[str], link: Callable[[str], str]
) -> list[Series]:
    others = [run for run in totals.runs if run not in tones and not _is_reported(run, reporting)]
    series = [_mean_line(totals, run, tone, [run], link(run)) for run, tone in tones.items()]
    return [*series, _mean_line(totals, OTHERS, "rest", others)] if others else series


def _mean_line(
    totals: Totals, name: str, tone: str, runs: Sequence[str], link: str | None = None
) -> Series:
    rows: list[list[Counter[str]]] = [[] for _ in range(totals.time_range.buckets)]
    for run in runs:
        for index, tally in totals.by_run.get(run, {}).items():
            rows[index].append(tally.scores[score_sums.ALL])
    sums = [sum_columns(each, score_sums.COLUMNS) for each in rows]
    overall = _mean(sum_columns(sums, score_sums.COLUMNS))
    return Series(
        name, tone, [_mean(each) for each in sums], "" if overall is None else score(overall), link
    )


def _mean(sums: Counter[str]) -> float | None:
    found = score_sums.mean_and_std(sums)
    return None if found is None else found[0]


def _bins(tally: CounterTotals) -> list[int]:
    total = tally.scores[score_sums.ALL]
    return [total[name] for name in score_sums.BIN_COLUMNS]


def _reports(
    totals: Totals, reported: Sequence[ReportedMetric], name: str, tones: Mapping[str, str]
) -> list[Report]:
    """Those within the time on display, oldest first."""
    time_range = totals.time_range
    return [
        Report(each.run, tones[each.run], each.step, each.at_ms, each.value, each.low, each.high)
        for each in reported
        if each.name == name
        and each.run in tones
        and 0 <= time_range.index(each.at_ms) < time_range.buckets
    ]
