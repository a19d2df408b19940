"""The purse that pays for one group of one run, within the budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.scoring.store.money import TOTAL, Money, Purpose, scope_of
from services.scoring.teachers.base import Call
from shared.contract import BudgetState
from shared.settings import Budget, Budgets


@dataclass(slots=True)
class RunPurse:
    """A Purse over the ledger. `bills` are the calls it has paid for."""

    money: Money
    purpose: Purpose
    budgets: Budgets
    clock_ms: Callable[[], int]
    bills: list[Call] = field(default_factory=list)

    async def reserve(self, bound: Call) -> str:
        return await self.money.reserve(self.purpose, bound, self._limits(), self.clock_ms())

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        self.bills.append(bill)
        await self.money.settle(reservation, self.purpose, bound, bill, self.clock_ms())

    def _limits(self) -> dict[str, Budget]:
        run = self.purpose.run
        return {TOTAL: self.budgets.total, scope_of(run): self.budgets.of_run(run)}


def budget_states(spent: Mapping[str, tuple[int, int]], budgets: Budgets, run: str | None) -> dict[str, BudgetState]:
    """The total and every run that has paid, or only the `run` that is named."""
    limits = {TOTAL: budgets.total} | {
        scope: budgets.of_run(scope.removeprefix("run ")) for scope in spent if scope != TOTAL
    }
    if run is not None:
        limits = {TOTAL: budgets.total, scope_of(run): budgets.of_run(run)}
    states: dict[str, BudgetState] = {}
    for scope, limit in limits.items():
        nusd, tokens = spent.get(scope, (0, 0))
        states[scope] = BudgetState(
            spent_usd=nusd / 1e9, limit_usd=limit.usd, spent_tokens=tokens, limit_tokens=limit.tokens
        )
    return states
