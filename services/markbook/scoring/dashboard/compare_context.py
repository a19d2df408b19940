"""Builds the template context of two runs side by side."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markbook.contract import MARK, PASS_AT_1
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.stats import to_counters
from markbook.scoring.dashboard import formatting, learning_charts
from markbook.scoring.dashboard.elapsed import ElapsedRange, cut_elapsed
from markbook.scoring.dashboard.learning_svg import Report, curves, score
from markbook.scoring.dashboard.samples_query import SamplesQuery
from markbook.scoring.dashboard.svg import Chart, Series, lines
from markbook.scoring.dashboard.totals import (
    Totals,
    build_totals,
    cost_nusd,
    hits,
    lookups,
    total_tokens,
)
from markbook.scoring.store import ApiKey, ComparedTask, CounterTotals, Viewer, score_sums
from markbook.scoring.store.run_metrics import ReportedMetric

TASKS = 12
TONES = ("one", "two")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: a figure of both runs, and what the second has more."""

    name: str
    values: tuple[str, str]
    difference: str


@dataclass(frozen=True, slots=True)
class TaskRow:
    """`task`: the hex of its hash.

    `title`: None where the text is not stored. `links`: to each run's samples of it.
    """

    task: str
    title: str | None
    values: tuple[str, str]
    counts: tuple[str, str]
    difference: str
    links: tuple[str, str]


@dataclass(frozen=True, slots=True)
class CompareView:
    key: ApiKey | None
    runs: tuple[str, str]
    names: Sequence[str]
    is_stub: bool
    description: str
    curves: Sequence[Chart]
    figures: Sequence[Figure]
    tasks: Sequence[TaskRow]
    common: str


@dataclass(frozen=True, slots=True)
class _Run:
    """`start_ms`: of its first sample or report. `reports`: times since then."""

    name: str
    totals: Totals
    reports: Sequence[ReportedMetric]
    start_ms: int

    @property
    def mean(self) -> float | None:
        found = score_sums.mean_and_std(self.totals.total.scores[score_sums.ALL])
        return None if found is None else found[0]

    def latest(self, name: str) -> float | None:
        return next((each.value for each in reversed(self.reports) if each.name == name), None)


async def build_comparison(
    state: AppState, key: ApiKey | None, runs: tuple[str, str]
) -> CompareView:
    """Raises StoreUnavailableError. The key may use both runs."""
    await state.pipeline.ledger.flush()
    await state.pipeline.responses.rejects.flush()
    viewer, store = Viewer(key), state.store
    whole, found = await _read_runs(state, viewer, runs)
    compared = await store.comparison.tasks(viewer, *runs, TASKS)
    names = await store.comparison.runs(viewer)
    return CompareView(
        key=key,
        runs=runs,
        names=[*names, *(name for name in runs if name not in names)],
        is_stub=state.teacher.is_stub,
        description=state.teacher.description,
        curves=_curves(whole, found),
        figures=_figures(*found),
        tasks=[_task_row(each, runs) for each in compared.tasks],
        common=formatting.count(compared.common),
    )


async def _read_runs(
    state: AppState, viewer: Viewer, runs: tuple[str, str]
) -> tuple[ElapsedRange, list[_Run]]:
    spans = await state.store.run_metrics.spans(viewer, learning_charts.REPORTED)
    now_ms = state.clock_ms()
    starts, ends = [], []
    for run in runs:
        active = await state.store.ledger.activity(viewer, run)
        reported = [(spans[run].first_ms, spans[run].last_ms)] if run in spans else []
        times = [*([active] if active else []), *reported] or [(now_ms, now_ms)]
        starts.append(min(first for first, _ in times))
        ends.append(max(last for _, last in times))
    whole, own = cut_elapsed(starts, ends)
    values = await state.store.run_metrics.of_runs(
        viewer, runs, learning_charts.REPORTED, learning_charts.MAX_REPORTS
    )
    found = []
    for run, time_range in zip(runs, own, strict=True):
        sums = await state.store.ledger.sums(
            viewer, time_range.first_ms, time_range.step_ms, run, by_source=False
        )
        reports = [
            replace(each, at_ms=each.at_ms - time_range.first_ms)
            for each in values
            if each.run == run
        ]
        found.append(_Run(run, build_totals(sums, time_range), reports, time_range.first_ms))
    return whole, found


def _curves(whole: ElapsedRange, runs: Sequence[_Run]) -> list[Chart]:
    pairs = list(zip(runs, TONES, strict=True))
    means = [Series(run.name, tone, _means(run.totals), _or_none(run.mean)) for run, tone in pairs]
    dollars = [
        Series(run.name, tone, _sums(run.totals, cost_nusd), formatting.usd(_cost(run)))
        for run, tone in pairs
    ]
    return [
        curves(
            "marks",
            "Mean mark",
            "since each run's start",
            whole,
            means,
            _reports(pairs, MARK),
            "evaluation",
        ),
        curves("pass", "pass@1", "of evaluations", whole, [], _reports(pairs, PASS_AT_1), "pass@1"),
        lines("dollars", "Dollars so far", "US dollars", whole, dollars, _axis_usd),
    ]


def _means(totals: Totals) -> list[float | None]:
    found: list[float | None] = []
    for tally in totals.buckets:
        mean = score_sums.mean_and_std(tally.scores[score_sums.ALL])
        found.append(None if mean is None else mean[0])
    return found


def _sums(totals: Totals, value: Callable[[CounterTotals], int]) -> list[float | None]:
    """Sums so far, in 1e9 of the unit, up to the last bucket with any."""
    so_far = list(itertools.accumulate(value(tally) for tally in totals.buckets))
    last = max(
        (index for index, tally in enumerate(totals.buckets) if tally.counts.total()), default=-1
    )
    return [total / 1e9 if index <= last else None for index, total in enumerate(so_far)]


def _reports(pairs: Sequence[tuple[_Run, str]], name: str) -> list[Report]:
    return [
        Report(run.name, tone, each.step, each.at_ms, each.value, each.low, each.high)
        for run, tone in pairs
        for each in run.reports
        if each.name == name
    ]


def _figures(one: _Run, two: _Run) -> list[Figure]:
    counts: tuple[Counter[str], Counter[str]] = (one.totals.total.counts, two.totals.total.counts)
    rejected = [_share(each["heuristic"] + each["tests"], each["samples"]) for each in counts]
    reused = [_share(hits(run.totals.total), lookups(run.totals.total)) for run in (one, two)]
    return [
        _number("mean mark", one.mean, two.mean, _or_none),
        _number("latest evaluation", one.latest(MARK), two.latest(MARK), _or_none),
        _number("latest pass@1", one.latest(PASS_AT_1), two.latest(PASS_AT_1), _or_none),
        _number("dollars", _cost(one), _cost(two), formatting.usd),
        _number(
            "dollars per 1,000 samples", _per_thousand(one), _per_thousand(two), formatting.usd
        ),
        _number("tokens", total_tokens(one.totals.total), total_tokens(two.totals.total), _count),
        _number("samples", counts[0]["samples"], counts[1]["samples"], _count),
        _number("unscored", counts[0]["unscored"], counts[1]["unscored"], _count),
        _number("rejected by a tier", rejected[0], rejected[1], _percent),
        _number("hit rate", reused[0], reused[1], _percent),
    ]


def _number(
    name: str, one: float | None, two: float | None, format_value: Callable[[float | None], str]
) -> Figure:
    values = (
        formatting.NONE if one is None else format_value(one),
        formatting.NONE if two is None else format_value(two),
    )
    return Figure(
        name, values, "" if one is None or two is None else _signed(two - one, format_value)
    )


def _signed(difference: float, format_value: Callable[[float | None], str]) -> str:
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    return f"{sign}{format_value(abs(difference))}"


def _task_row(found: ComparedTask, runs: tuple[str, str]) -> TaskRow:
    one, two = found.means
    task = found.task.hex()
    return TaskRow(
        task,
        None if found.text is None else formatting.visible(found.text),
        (score(one), score(two)),
        (formatting.count(found.counts[0]), formatting.count(found.counts[1])),
        _signed(two - one, _or_none),
        (SamplesQuery(run=runs[0], task=task).link(), SamplesQuery(run=runs[1], task=task).link()),
    )


def _cost(run: _Run) -> float | None:
    return to_counters(run.totals.total).cost_usd


def _per_thousand(run: _Run) -> float | None:
    cost, samples = _cost(run), run.totals.total.counts["samples"]
    return None if cost is None or not samples else 1000 * cost / samples


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _or_none(value: float | None) -> str:
    return formatting.NONE if value is None else score(value)


def _count(number: float | None) -> str:
    return formatting.count(round(number or 0))


def _percent(share: float | None) -> str:
    return formatting.percent(share or 0, 1)


def _axis_usd(dollars: float) -> str:
    return f"${formatting.compact(dollars)}"
