"""All that the page shows, in words and shapes: what the templates need and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markbook.contract import BudgetState, Counters
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.api.stats import budget_states
from markbook.scoring.dashboard import formatting, marks_table
from markbook.scoring.dashboard.cards import BudgetRow, Figure, RunRow, budgets_of, build_cards, runs_of
from markbook.scoring.dashboard.charts import build_charts
from markbook.scoring.dashboard.marks_table import Opened, Row
from markbook.scoring.dashboard.query import PageQuery
from markbook.scoring.dashboard.svg import Chart
from markbook.scoring.dashboard.time_range import resolve_time_range
from markbook.scoring.dashboard.totals import build_totals
from markbook.scoring.store import MAX_MARKS, ApiKey, Viewer
from markbook.scoring.store.budget_alerts import SPENT


@dataclass(frozen=True, slots=True)
class Marks:
    """`searched`: how many were looked at. `older`: the address of what comes before them; None: nothing does."""

    rows: list[Row]
    searched: int
    older: str | None
    opened: Opened | None
    is_missing: bool


@dataclass(frozen=True, slots=True)
class View:
    asked: PageQuery
    key: ApiKey | None
    now: str
    since: str
    teacher: str
    description: str
    is_stand_in: bool
    troubles: list[str]
    has_runs: bool
    total: Counters
    figures: list[Figure]
    charts: list[Chart]
    runs: list[RunRow]
    budgets: list[BudgetRow]
    marks: Marks
    entries: str | None
    profile: str
    store_samples: bool
    explains: bool
    most_marks: str


async def build_context(state: AppState, key: ApiKey | None, asked: PageQuery) -> View:
    """What `key` may see of what was `asked` for. Raises StoreUnavailable."""
    await state.pipeline.ledger.flush()
    now_ms, teacher, store, viewer = state.clock_ms(), state.teacher, state.store, Viewer(key)
    oldest_ms = await store.ledger.first_ms(viewer)
    frame = resolve_time_range(asked.since, now_ms, oldest_ms)
    account = build_totals(await store.ledger.sums(viewer, frame.first_ms, frame.step_ms, asked.run), frame)
    states = budget_states(await store.money.spent(viewer), state.config.budgets, asked.run, key)
    size = await store.marks.size(viewer)
    return View(
        asked=asked,
        key=key,
        now=formatting.moment(now_ms),
        since=formatting.moment(frame.first_ms),
        teacher=teacher.model,
        description=teacher.description,
        is_stand_in=teacher.is_stub,
        troubles=_troubles(state, states),
        has_runs=bool(account.runs),
        total=account.counters,
        figures=build_cards(account),
        charts=build_charts(account, lambda run: asked.link(run=run, before=None, mark=None)),
        runs=runs_of(account),
        budgets=budgets_of(states),
        marks=await _marks(state, viewer, asked),
        entries=None if size is None else formatting.count(size[0]),
        profile=state.pipeline.profile,
        store_samples=state.config.store.store_samples,
        explains=state.config.teacher.explain,
        most_marks=formatting.count(MAX_MARKS),
    )


def _troubles(state: AppState, budgets: Mapping[str, BudgetState]) -> list[str]:
    """What keeps samples from being scored, or soon will, with its cause and since when."""
    troubles: list[str] = []
    if outage := state.teacher.outage():
        since = formatting.moment(round(outage.since_s * 1000))
        troubles.append(f"The teacher is down since {since} UTC: {formatting.visible(outage.cause)}")
    for scope, alert in sorted(state.store.money.watch.alerts.items()):
        if scope in budgets:
            what = "is spent" if alert.percent == SPENT else f"is spent to {alert.percent} %"
            troubles.append(f"The budget of {scope} {what} since {formatting.moment(alert.since_ms)} UTC.")
    return troubles


async def _marks(state: AppState, viewer: Viewer, asked: PageQuery) -> Marks:
    rubric, page = state.pipeline.rubric, state.store.page
    before = marks_table.read(asked.before) if asked.before else None
    found = await page.latest(viewer, marks_table.A_PAGE, marks_table.matching(asked.query), before, asked.run)
    wanted = await page.mark(viewer, bytes.fromhex(asked.mark)) if asked.mark else None
    return Marks(
        rows=[marks_table.row_of(paid, rubric, asked.query) for paid in found.marks],
        searched=found.searched,
        older=found.last and asked.link("#marks", before=marks_table.written(found.last), mark=None),
        opened=None if wanted is None else marks_table.opened(wanted, rubric),
        is_missing=bool(asked.mark) and wanted is None,
    )
