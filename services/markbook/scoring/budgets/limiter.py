"""The purse that pays for one group of one run, within the budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markbook.config.settings import Budget, Budgets
from markbook.scoring.concurrency import wait_ended
from markbook.scoring.errors import stopping
from markbook.scoring.fair_queue import Caller
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.observability.tracing import span
from markbook.scoring.store import ApiKey, CallContext, Settlement, Store
from markbook.scoring.store.budgets import TOTAL, key_scope, run_scope
from markbook.scoring.types import TeacherCall


@dataclass(frozen=True, slots=True)
class BillingContext:
    """Who pays for the calls of a request: a run, and an API key where there are keys. `bills`: the calls so far."""

    run: str
    key: ApiKey | None = None
    bills: list[TeacherCall] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        return Caller(self.key.name if self.key else None, self.run)


@dataclass(slots=True)
class RunBudgetLimiter:
    """A BudgetLimiter over the ledger, for the calls of one group. `bills` are the calls it has paid for.

    `wanted` is claimed with the first call. A bill is written as soon as its payer waits for something, and before the
    next call; one for which nobody has waited yet is `due`, to be written together with the marks that it has brought.
    Once `stopped` is set nothing is reserved, so that no call begins: ServiceStopping.
    """

    store: Store
    purpose: CallContext
    budgets: Budgets
    clock_ms: Callable[[], int]
    key: ApiKey | None = None
    bills: list[TeacherCall] = field(default_factory=list)
    wanted: Sequence[Fingerprint] = ()
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _due: list[Settlement] = field(default_factory=list)
    _writing: list[asyncio.Task[None]] = field(default_factory=list)

    async def reserve(self, bound: TeacherCall) -> str:
        await self.settled()
        if self.stopped.is_set():
            raise stopping()
        with span("reserve"):
            reservation = await self.store.reserve(self.wanted, self.purpose, bound, self._limits(), self.clock_ms())
        self.wanted = ()
        return reservation

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        self.bills.append(bill)
        self._due.append(Settlement(reservation, self.purpose, bound, bill, self.clock_ms()))
        self._writing.append(asyncio.create_task(self._write()))  # which begins when the caller waits

    def pop_unwritten(self) -> list[Settlement]:
        """The bills that are not being written yet: now they are yours to write."""
        due, self._due = self._due, []
        return due

    async def settled(self) -> None:
        """Returns once every bill so far is written. Raises StoreUnavailable."""
        bills = [*self._writing]  # others may come while these are waited for
        await wait_ended(bills)
        for bill in bills:
            bill.result()

    async def _write(self) -> None:
        if due := self.pop_unwritten():
            await self.store.settle(due)

    def _limits(self) -> dict[str, Budget]:
        """By scope. That of the key is one that no choice of run escapes."""
        run = self.purpose.run
        limits = {TOTAL: self.budgets.total, run_scope(run): self.budgets.of_run(run)}
        return limits if self.key is None else {**limits, key_scope(self.key.name): self.key.budget}
