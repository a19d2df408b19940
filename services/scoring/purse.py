"""A group's purse: what a teacher must open before each paid call and settle after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.scoring.store.money import TOTAL, Money, Purpose, scope_of
from services.scoring.teachers.base import Call
from shared.settings import Budget, Budgets


@dataclass(slots=True)
class RunPurse:
    """Pays for one group of one run, within the budgets. `bills` are the calls it has paid for."""

    money: Money
    purpose: Purpose
    budgets: Budgets
    clock_ms: Callable[[], int]
    bills: list[Call] = field(default_factory=list)

    async def reserve(self, bound: Call) -> str:
        """Set the most that a call can cost aside. Raises BudgetExhausted, and the call must not be made."""
        return await self.money.reserve(self.purpose, bound, self._limits(), self.clock_ms())

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        """The call is over: `bill` takes the place of `bound`. A bill that is not known is itself a bound."""
        self.bills.append(bill)
        await self.money.settle(reservation, self.purpose, bound, bill, self.clock_ms())

    def _limits(self) -> dict[str, Budget]:
        run = self.purpose.run
        return {TOTAL: self.budgets.total, scope_of(run): self.budgets.of_run(run)}
