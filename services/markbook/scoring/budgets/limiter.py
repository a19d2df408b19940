"""Charges the teacher calls of one group to its run and API key, within their budgets."""

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
from markbook.scoring.store.settlement import TOTAL, key_scope, run_scope
from markbook.scoring.types import TeacherCall


@dataclass(frozen=True, slots=True)
class BillingContext:
    """The run and API key (None without keys) that a request is charged to.

    `bills`: its finished calls so far.
    """

    run: str
    key: ApiKey | None = None
    bills: list[TeacherCall] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        return Caller(self.key.name if self.key else None, self.run)


@dataclass(slots=True)
class RunBudgetLimiter:
    """A BudgetLimiter backed by the store, for the calls of one group.

    `bills` are its finished calls.

    `to_claim` is claimed with the first call. A settlement is written as soon as its caller awaits
    something, and before the next call; one that is not being written yet can be taken with
    `pop_unwritten`, to be written with the marks of its call. Once `stopped` is set, `reserve`
    raises ServiceStoppingError, so that no call is started.
    """

    store: Store
    context: CallContext
    budgets: Budgets
    clock_ms: Callable[[], int]
    key: ApiKey | None = None
    bills: list[TeacherCall] = field(default_factory=list)
    to_claim: Sequence[Fingerprint] = ()
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _unwritten: list[Settlement] = field(default_factory=list)
    _writing: list[asyncio.Task[None]] = field(default_factory=list)

    async def reserve(self, bound: TeacherCall) -> str:
        await self.wait_settled()
        if self.stopped.is_set():
            raise stopping()
        with span("reserve"):
            reservation = await self.store.reserve(
                self.to_claim, self.context, bound, self._limits(), self.clock_ms()
            )
        self.to_claim = ()
        return reservation

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        self.bills.append(bill)
        self._unwritten.append(Settlement(reservation, self.context, bound, bill, self.clock_ms()))
        self._writing.append(asyncio.create_task(self._write()))  # runs when the caller awaits

    def pop_unwritten(self) -> list[Settlement]:
        """Settlements that are not being written yet; the caller writes them now."""
        unwritten, self._unwritten = self._unwritten, []
        return unwritten

    async def wait_settled(self) -> None:
        """Returns once every settlement so far is written. Raises StoreUnavailableError."""
        writing = [*self._writing]  # others may be added while these are awaited
        await wait_ended(writing)
        for task in writing:
            task.result()

    async def _write(self) -> None:
        if unwritten := self.pop_unwritten():
            await self.store.settle(unwritten)

    def _limits(self) -> dict[str, tuple[Budget, ...]]:
        return budgets_by_scope(self.budgets, self.context.run, self.key)


def budgets_by_scope(
    budgets: Budgets, run: str, key: ApiKey | None
) -> dict[str, tuple[Budget, ...]]:
    """The limits of a call for `run`. The key's applies whatever run a client names."""
    limits: dict[str, tuple[Budget, ...]] = {
        TOTAL: (budgets.total, budgets.recurring),
        run_scope(run): (budgets.of_run(run),),
    }
    return limits if key is None else {**limits, key_scope(key.name): (key.budget,)}
