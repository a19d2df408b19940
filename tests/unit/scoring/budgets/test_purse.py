"""The purse between the teacher and the store: bills that come while others are written, and no
call after a stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from markbook.config.settings import Budgets
from markbook.scoring.budgets.limiter import RunBudgetLimiter
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError
from markbook.scoring.store import CallContext, Settlement
from markbook.scoring.types import TeacherCall
from tests.unit.scoring.test_fair_queue import settle

CALL = TeacherCall("m", "ok")


class Book:
    """Writes bills when it is let."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []
        self.written: list[str] = []
        self.error: Exception | None = None
        self.reserved = 0

    async def reserve(self, *_: object) -> str:
        self.reserved += 1
        return f"r{self.reserved}"

    async def settle(self, bills: Sequence[Settlement]) -> None:
        self.gates.append(gate := asyncio.Event())
        await gate.wait()
        if self.error:
            raise self.error
        self.written += [bill.reservation for bill in bills]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def purse(book: Book) -> RunBudgetLimiter:
    return RunBudgetLimiter(book, CallContext("run", "00", 8), Budgets(), lambda: 0)  # type: ignore[arg-type]


async def test_a_bill_that_comes_while_another_is_waited_for_is_not_asked_for_its_end(book, purse):
    await purse.settle("first", CALL, CALL)
    await settle()
    waits = asyncio.create_task(purse.reserve(CALL))
    await settle()
    await purse.settle("second", CALL, CALL)
    await settle()
    book.gates[0].set()
    assert await waits == "r1"
    assert book.written == ["first"]
    ends = asyncio.create_task(purse.wait_settled())
    await settle()
    assert not ends.done()
    book.gates[1].set()
    await ends
    assert book.written == ["first", "second"]


async def test_a_bill_that_cannot_be_written_is_said_to_whoever_waits(book, purse):
    book.error = StoreUnavailableError("no database")
    await purse.settle("first", CALL, CALL)
    await settle()
    waits = asyncio.create_task(purse.wait_settled())
    await settle()
    book.gates[0].set()
    with pytest.raises(StoreUnavailableError):
        await waits


async def test_after_a_stop_nothing_is_reserved(book, purse):
    assert await purse.reserve(CALL) == "r1"
    purse.stopped.set()
    with pytest.raises(ServiceStoppingError):
        await purse.reserve(CALL)
    assert book.reserved == 1


async def test_a_stop_while_bills_are_written_is_seen(book, purse):
    await purse.settle("first", CALL, CALL)
    await settle()
    waits = asyncio.create_task(purse.reserve(CALL))
    await settle()
    purse.stopped.set()
    book.gates[0].set()
    with pytest.raises(ServiceStoppingError):
        await waits
    assert book.reserved == 0
