"""Builds the template context of the dashboard page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markbook.contract import BudgetState, Counters
from markbook.scoring.api.budget_stats import read_budget_states
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.stats import agreement_stats
from markbook.scoring.dashboard import formatting, learning_charts, marks_table
from markbook.scoring.dashboard.agreement import (
    AgreementRow,
    build_agreement_chart,
    build_agreement_rows,
)
from markbook.scoring.dashboard.cards import (
    BudgetRow,
    Card,
    RunRow,
    build_budget_rows,
    build_cards,
    build_meters,
    build_run_rows,
)
from markbook.scoring.dashboard.charts import build_charts
from markbook.scoring.dashboard.glance import Fact, build_glance
from markbook.scoring.dashboard.marks_table import Row
from markbook.scoring.dashboard.query import PageQuery
from markbook.scoring.dashboard.samples_query import SamplesQuery
from markbook.scoring.dashboard.savings import Savings, compute_savings
from markbook.scoring.dashboard.svg import Chart
from markbook.scoring.dashboard.time_range import Period, resolve_time_range
from markbook.scoring.dashboard.totals import build_totals
from markbook.scoring.observability.agreement import describe
from markbook.scoring.store import MAX_MARKS, ApiKey, Viewer
from markbook.scoring.store.budget_alerts import SPENT
from markbook.scoring.store.run_metrics import Span


@dataclass(frozen=True, slots=True)
class Marks:
    """`searched`: number of marks examined.

    `older`: the URL of the next page of older marks, or None.
    """

    rows: list[Row]
    searched: int
    older: str | None


@dataclass(frozen=True, slots=True)
class View:
    query: PageQuery
    key: ApiKey | None
    now: str
    since: str
    until: str | None
    teacher: str
    description: str
    is_stub: bool
    warnings: list[str]
    has_runs: bool
    total: Counters
    glance: list[Fact]
    cards: list[Card]
    savings: Savings | None
    curves: list[Chart]
    charts: list[Chart]
    runs: list[RunRow]
    agreement: list[AgreementRow]
    budgets: list[BudgetRow]
    marks: Marks
    entries: str | None
    profile: str
    store_samples: bool
    most_marks: str
    samples: str


async def build_context(state: AppState, key: ApiKey | None, query: PageQuery) -> View:
    """The part of `query` that `key` may see. Raises StoreUnavailableError."""
    await state.pipeline.ledger.flush()
    await state.pipeline.responses.rejects.flush()
    now_ms, teacher, store, viewer = state.clock_ms(), state.teacher, state.store, Viewer(key)
    spans = await store.run_metrics.spans(viewer, learning_charts.REPORTED, query.run)
    # auto is about what is shown, all about what is stored
    active = await store.ledger.activity(viewer, query.run if query.since is Period.AUTO else None)
    time_range = resolve_time_range(query.since, now_ms, _join(active, spans.values()))
    sums = await store.ledger.sums(
        viewer, time_range.first_ms, time_range.step_ms, query.run, by_source=False
    )
    totals = build_totals(sums, time_range)
    runs = learning_charts.named_runs(totals, spans)
    reported = []
    if spans:
        limit = learning_charts.MAX_REPORTS
        reported = await store.run_metrics.of_runs(viewer, runs, learning_charts.REPORTED, limit)

    def link(name: str) -> str:
        return query.link(run=name, before=None)

    curves = learning_charts.build_learning_charts(totals, reported, spans, link)
    charts = [build_agreement_chart(totals, runs, link), *build_charts(totals, link)]
    agreement = await agreement_stats(state, viewer, sums, query.run)
    states = await read_budget_states(state, key, query.run)
    savings = compute_savings(totals.counters, state.config.teacher.price())
    size = await store.marks.size(viewer)
    listed = SamplesQuery(run=query.run or "")
    newest = await store.samples.newest(viewer, query.run)
    return View(
        query=query,
        key=key,
        now=formatting.format_time(now_ms),
        since=formatting.format_time(time_range.first_ms),
        until=formatting.format_time(time_range.end_ms) if time_range.end_ms <= now_ms else None,
        teacher=teacher.model,
        description=teacher.description,
        is_stub=teacher.is_stub,
        warnings=_build_warnings(state, viewer, states),
        has_runs=bool(totals.runs) or not all(chart.is_empty for chart in [*curves, *charts]),
        total=totals.counters,
        glance=build_glance(totals, newest, listed, is_stub=teacher.is_stub),
        cards=build_cards(totals, savings, is_stub=teacher.is_stub),
        savings=savings,
        curves=curves,
        charts=charts,
        runs=build_run_rows(totals),
        agreement=build_agreement_rows(agreement.counts, agreement.low_runs),
        budgets=build_budget_rows(states),
        marks=await _marks(state, viewer, query),
        entries=None if size is None else formatting.count(size[0]),
        profile=state.pipeline.profile,
        store_samples=state.config.store.store_samples,
        most_marks=formatting.count(MAX_MARKS),
        samples=listed.link(),
    )


def _join(active: tuple[int, int] | None, spans: Iterable[Span]) -> tuple[int, int] | None:
    """From the first to the last of all activity: counts, and reports of trainers."""
    times = [*([active] if active else []), *((span.first_ms, span.last_ms) for span in spans)]
    return (min(first for first, _ in times), max(last for _, last in times)) if times else None


def _build_warnings(
    state: AppState, viewer: Viewer, budgets: Mapping[str, BudgetState]
) -> list[str]:
    """Conditions that keep samples from being scored, or soon will, each with its cause and
    start.
    """
    warnings: list[str] = []
    if outage := state.teacher.outage():
        since = formatting.format_time(round(outage.since_s * 1000))
        warnings.append(
            f"The teacher is down since {since} UTC: {formatting.visible(outage.cause)}. Until it "
            "answers, new samples are unscored and cached marks are served."
        )
    for scope, alert in sorted(state.store.money.watch.current(state.clock_ms()).items()):
        if scope in budgets:
            what = "is spent" if alert.percent == SPENT else f"is spent to {alert.percent} %"
            left = " and ".join(meter.left for meter in build_meters(budgets[scope]))
            since = formatting.format_time(alert.since_ms)
            warnings.append(f"The budget of {scope} {what} since {since} UTC: {left} left.")
    for run, low in sorted(state.agreement.low.items()):
        if viewer.may_use(run):
            warnings.append(f"Run {run}: {describe(low)}.")
    return warnings


async def _marks(state: AppState, viewer: Viewer, query: PageQuery) -> Marks:
    rubric, page = state.pipeline.rubric, state.store.page
    before = marks_table.parse_cursor(query.before) if query.before else None
    found = await page.latest(
        viewer, marks_table.PAGE_SIZE, marks_table.make_filter(query.search), before, query.run
    )
    return Marks(
        rows=[marks_table.build_row(paid, rubric, query.search) for paid in found.marks],
        searched=found.searched,
        older=found.last and query.link("#marks", before=marks_table.format_cursor(found.last)),
    )
