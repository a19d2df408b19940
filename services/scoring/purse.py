"""The purse that pays for one group of one run, within the budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.scoring.auth import may_use
from services.scoring.store import ApiKey
from services.scoring.store.money import TOTAL, Money, Purpose, key_scope, scope_of
from services.scoring.teachers.base import Call, Purse
from services.scoring.together import end_of
from shared.contract import BudgetState
from shared.settings import Budget, Budgets


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for the calls of a request: a run, and an API key where there are keys. `bills`: the calls so far."""

    run: str
    key: ApiKey | None = None
    bills: list[Call] = field(default_factory=list)


@dataclass(slots=True)
class RunPurse:
    """A Purse over the ledger. `bills` are the calls it has paid for."""

    money: Money
    purpose: Purpose
    budgets: Budgets
    clock_ms: Callable[[], int]
    key: ApiKey | None = None
    bills: list[Call] = field(default_factory=list)

    async def reserve(self, bound: Call) -> str:
        return await self.money.reserve(self.purpose, bound, self._limits(), self.clock_ms())

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        self.bills.append(bill)
        await self.money.settle(reservation, self.purpose, bound, bill, self.clock_ms())

    def _limits(self) -> dict[str, Budget]:
        """By scope. That of the key is one that no choice of run escapes."""
        run = self.purpose.run
        limits = {TOTAL: self.budgets.total, scope_of(run): self.budgets.of_run(run)}
        return limits if self.key is None else {**limits, key_scope(self.key.name): self.key.budget}


@dataclass(slots=True)
class SettlingPurse:
    """Another purse, whose bills are written while the caller goes on, and are before its next call."""

    purse: Purse
    settling: list[asyncio.Task[None]] = field(default_factory=list)

    async def reserve(self, bound: Call) -> str:
        await self.settled()
        return await self.purse.reserve(bound)

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        self.settling.append(asyncio.create_task(self.purse.settle(reservation, bound, bill)))

    async def settled(self) -> None:
        """Returns once every bill is written. Raises StoreUnavailable."""
        await end_of(self.settling)
        for bill in self.settling:
            bill.result()


def budget_states(
    spent: Mapping[str, tuple[int, int]], budgets: Budgets, run: str | None, key: ApiKey | None
) -> dict[str, BudgetState]:
    """The total, the asker's key, and every run that has paid or only the `run` that is named.

    A key sees the runs that it may use, and the total, which tells what others spend, if those are all runs.
    """
    paid = [scope.removeprefix("run ") for scope in spent if scope.startswith("run ")] if run is None else [run]
    limits = {scope_of(name): budgets.of_run(name) for name in paid if may_use(key, name)}
    if key is not None:
        limits = {key_scope(key.name): key.budget, **limits}
    if key is None or key.runs == "*":
        limits = {TOTAL: budgets.total, **limits}
    states: dict[str, BudgetState] = {}
    for scope, limit in limits.items():
        nusd, tokens = spent.get(scope, (0, 0))
        states[scope] = BudgetState(
            spent_usd=nusd / 1e9, limit_usd=limit.usd, spent_tokens=tokens, limit_tokens=limit.tokens
        )
    return states
