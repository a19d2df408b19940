"""The budgets of `/stats`, `/metrics` and the dashboard: what was spent of each, in all or in
its current period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markbook.config.settings import Budget, Budgets
from markbook.contract import BudgetState
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.store import OWNER, ApiKey, Viewer
from markbook.scoring.store.budget_days import current_budget
from markbook.scoring.store.settlement import TOTAL, key_scope, run_scope

Amounts = Mapping[str, tuple[int, int]]
"""Nano-dollars and tokens by scope, reservations included."""


@dataclass(frozen=True, slots=True)
class Spending:
    """`in_all`: since the store was created.

    `by_period`: in the current day or month, of the periods in use.
    """

    in_all: Amounts
    by_period: Mapping[Literal["day", "month"], Amounts] = field(default_factory=dict)


async def read_budget_states(
    state: AppState, key: ApiKey | None, run: str | None
) -> dict[str, BudgetState]:
    """The total, the asker's key, and every run that has paid or only the `run` that is named.

    A key sees the runs that it may use, and the total only if it may use all runs.
    """
    budgets, viewer = state.config.budgets, Viewer(key)
    own = [] if key is None else [key.budget]
    spending = await _read_spending(state, viewer, [*_configured(budgets), *own])
    paid = [scope.removeprefix("run ") for scope in spending.in_all if scope.startswith("run ")]
    names = paid if run is None else [run]
    limits: dict[str, Sequence[Budget]] = {}
    if viewer.sees_all_runs:
        limits[TOTAL] = (budgets.total, budgets.recurring)
    if key is not None:
        limits[key_scope(key.name)] = own
    limits |= {run_scope(name): (budgets.of_run(name),) for name in names if viewer.may_use(name)}
    return budget_states(spending, limits, state.clock_ms())


async def named_budgets(state: AppState) -> dict[str, BudgetState]:
    """The budgets that the owner has named: the total, named runs, keys.

    Not each run's: clients choose their names.

    None while the database is unavailable; the process's own counters are reported all the same.
    """
    budgets = state.config.budgets
    try:
        keys = [key for key in await state.store.keys.all() if key.revoked_ms is None]
        used = [*_configured(budgets), *(key.budget for key in keys)]
        spending = await _read_spending(state, OWNER, used)
    except StoreUnavailableError:
        return {}
    limits: dict[str, Sequence[Budget]] = {TOTAL: (budgets.total, budgets.recurring)}
    limits |= {run_scope(run): (budget,) for run, budget in budgets.runs.items()}
    limits |= {key_scope(key.name): (key.budget,) for key in keys}
    return budget_states(spending, limits, state.clock_ms())


def budget_states(
    spending: Spending, limits: Mapping[str, Sequence[Budget]], now_ms: int
) -> dict[str, BudgetState]:
    """By scope what was spent in all, and beside it by the name of each budget that has a period
    and a limit.
    """
    states: dict[str, BudgetState] = {}
    for scope, budgets in limits.items():
        in_all = next((budget for budget in budgets if budget.per is None), Budget())
        states[scope] = _state(spending.in_all.get(scope, (0, 0)), in_all)
        for budget in budgets:
            if budget.per is not None and _is_limited(budget):
                spent = spending.by_period[budget.per].get(scope, (0, 0))
                states[current_budget(scope, budget, now_ms).name] = _state(spent, budget)
    return states


async def _read_spending(state: AppState, viewer: Viewer, used: Iterable[Budget]) -> Spending:
    periods = {budget.per for budget in used if budget.per is not None and _is_limited(budget)}
    money, now_ms = state.store.money, state.clock_ms()
    by_period = {per: await money.spent_in(viewer, per, now_ms) for per in sorted(periods)}
    return Spending(await money.spent(viewer), by_period)


def _is_limited(budget: Budget) -> bool:
    return budget.usd is not None or budget.tokens is not None


def _configured(budgets: Budgets) -> list[Budget]:
    return [budgets.total, budgets.recurring, budgets.per_run, *budgets.runs.values()]


def _state(spent: tuple[int, int], limit: Budget) -> BudgetState:
    nusd, tokens = spent
    return BudgetState(
        spent_usd=nusd / 1e9,
        limit_usd=limit.usd,
        spent_tokens=tokens,
        limit_tokens=limit.tokens,
        per=limit.per,
    )
