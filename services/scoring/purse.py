"""The purse that pays for one group of one run, within the budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.scoring.errors import stopping
from services.scoring.fair_queue import Caller
from services.scoring.fingerprint import Fingerprint
from services.scoring.store import ApiKey, Bill, Purpose, Store, Viewer
from services.scoring.store.money import TOTAL, key_scope, scope_of
from services.scoring.teachers.base import Call
from services.scoring.together import end_of
from services.scoring.tracing import span
from shared.contract import BudgetState
from shared.settings import Budget, Budgets


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for the calls of a request: a run, and an API key where there are keys. `bills`: the calls so far."""

    run: str
    key: ApiKey | None = None
    bills: list[Call] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        return Caller(self.key.name if self.key else None, self.run)


@dataclass(slots=True)
class RunPurse:
    """A Purse over the ledger, for the calls of one group. `bills` are the calls it has paid for.

    `wanted` is claimed with the first call. A bill is written as soon as its payer waits for something, and before the
    next call; one for which nobody has waited yet is `due`, to be written together with the marks that it has brought.
    Once `stopped` is set nothing is reserved, so that no call begins: ServiceStopping.
    """

    store: Store
    purpose: Purpose
    budgets: Budgets
    clock_ms: Callable[[], int]
    key: ApiKey | None = None
    bills: list[Call] = field(default_factory=list)
    wanted: Sequence[Fingerprint] = ()
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _due: list[Bill] = field(default_factory=list)
    _writing: list[asyncio.Task[None]] = field(default_factory=list)

    async def reserve(self, bound: Call) -> str:
        await self.settled()
        if self.stopped.is_set():
            raise stopping()
        with span("reserve"):
            reservation = await self.store.reserve(self.wanted, self.purpose, bound, self._limits(), self.clock_ms())
        self.wanted = ()
        return reservation

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        self.bills.append(bill)
        self._due.append(Bill(reservation, self.purpose, bound, bill, self.clock_ms()))
        self._writing.append(asyncio.create_task(self._write()))  # which begins when the caller waits

    def take_due(self) -> list[Bill]:
        """The bills that are not being written yet: now they are yours to write."""
        due, self._due = self._due, []
        return due

    async def settled(self) -> None:
        """Returns once every bill so far is written. Raises StoreUnavailable."""
        bills = [*self._writing]  # others may come while these are waited for
        await end_of(bills)
        for bill in bills:
            bill.result()

    async def _write(self) -> None:
        if due := self.take_due():
            await self.store.settle(due)

    def _limits(self) -> dict[str, Budget]:
        """By scope. That of the key is one that no choice of run escapes."""
        run = self.purpose.run
        limits = {TOTAL: self.budgets.total, scope_of(run): self.budgets.of_run(run)}
        return limits if self.key is None else {**limits, key_scope(self.key.name): self.key.budget}


def budget_states(
    spent: Mapping[str, tuple[int, int]], budgets: Budgets, run: str | None, key: ApiKey | None
) -> dict[str, BudgetState]:
    """The total, the asker's key, and every run that has paid or only the `run` that is named.

    A key sees the runs that it may use, and the total, which tells what others spend, if those are all runs.
    """
    paid = [scope.removeprefix("run ") for scope in spent if scope.startswith("run ")] if run is None else [run]
    limits = {scope_of(name): budgets.of_run(name) for name in paid if Viewer(key).may_use(name)}
    if key is not None:
        limits = {key_scope(key.name): key.budget, **limits}
    if Viewer(key).sees_all_runs:
        limits = {TOTAL: budgets.total, **limits}
    return {scope: budget_state(spent.get(scope, (0, 0)), limit) for scope, limit in limits.items()}


def budget_state(spent: tuple[int, int], limit: Budget) -> BudgetState:
    """`spent`: nano-dollars and tokens, reservations included."""
    nusd, tokens = spent
    return BudgetState(spent_usd=nusd / 1e9, limit_usd=limit.usd, spent_tokens=tokens, limit_tokens=limit.tokens)
