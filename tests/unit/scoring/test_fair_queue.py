"""Slots in turn by key, then by run; who is cancelled, refused or late; who is woken and who is
not.
"""

from __future__ import annotations

import asyncio

import pytest

from markbook.scoring.errors import ServiceStoppingError, stopping
from markbook.scoring.fair_queue import NOBODY, Caller, FairQueue


class Line:
    """Callers that queue for one slot, and the order in which they got it."""

    def __init__(self, capacity: int = 1) -> None:
        self.capacity = capacity
        self.queue = FairQueue(lambda: self.capacity)
        self.order: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, key: str | None = None, run: str = "") -> None:
        self.gates[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, Caller(key, run)))
        await settle()

    async def _hold(self, name: str, caller: Caller) -> None:
        async with self.queue.slot(caller):
            self.order.append(name)
            await self.gates[name].wait()

    async def end(self, name: str) -> None:
        self.gates[name].set()
        await settle()

    async def drain(self) -> list[str]:
        for gate in self.gates.values():
            gate.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.order


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_keys_take_turns_and_runs_of_a_key_take_its_turns():
    line = Line()
    await line.join("first", "a", "x")
    for name, key, run in (
        *(("a-x-1", "a", "x"), ("a-x-2", "a", "x"), ("a-x-3", "a", "x"), ("a-y-1", "a", "y")),
        *(("b-z-1", "b", "z"), ("b-z-2", "b", "z"), ("none-1", None, "x")),
    ):
        await line.join(name, key, run)
    assert await line.drain() == [
        "first",
        "a-x-1",
        "b-z-1",
        "none-1",
        "a-y-1",
        "b-z-2",
        "a-x-2",
        "a-x-3",
    ]


async def test_the_one_sample_of_another_key_waits_for_one_turn_whatever_is_queued():
    line = Line()
    await line.join("first", "a")
    for number in range(500):
        await line.join(f"a{number}", "a", str(number % 7))
    await line.join("b", "b")
    await line.end("first")  # a0 takes the slot
    await line.end("a0")
    assert line.order == ["first", "a0", "b"]
    await line.drain()


async def test_nobody_is_woken_before_its_turn():
    line = Line()
    for name in ("held", "second", "third"):
        await line.join(name)
    woken: list[str] = []
    for name in ("second", "third"):
        line.tasks[name].add_done_callback(lambda task: woken.append(task.get_name()))
    await line.end("held")
    assert line.order == ["held", "second"]
    assert woken == []
    await line.drain()


async def test_a_capacity_that_grows_is_used_once_it_is_told():
    line = Line()
    for name in ("one", "two", "three"):
        await line.join(name)
    line.capacity = 3
    assert line.order == ["one"]
    line.queue.refill()
    await settle()
    assert line.order == ["one", "two", "three"]
    line.capacity = 1
    await line.join("four")
    await line.end("one")
    await line.end("two")
    assert line.order == ["one", "two", "three"]  # one is still held, and there is room for one
    await line.end("three")
    assert line.order[-1] == "four"
    await line.drain()


async def test_a_newcomer_does_not_pass_those_who_wait():
    line = Line()
    for name in ("one", "two"):
        await line.join(name)
    line.capacity = 2  # there is room, but nobody was told yet
    await line.join("three")
    assert line.order == ["one"]
    line.queue.refill()
    await settle()
    assert line.order == ["one", "two"]
    await line.drain()


async def test_a_waiter_that_goes_away_leaves_no_hole():
    line = Line()
    for name in ("one", "two", "three"):
        await line.join(name)
    line.tasks["two"].cancel()
    await line.end("one")
    assert line.order == ["one", "three"]
    await line.drain()


async def test_a_slot_that_was_just_given_to_who_goes_away_goes_on():
    line = Line()
    for name in ("one", "two", "three"):
        await line.join(name)
    line.gates["one"].set()
    await asyncio.sleep(0)  # the slot is given to two, which has not run yet
    await asyncio.sleep(0)
    line.tasks["two"].cancel()
    await settle()
    assert line.order[-1] == "three"
    await line.drain()


async def test_a_closed_queue_refuses_those_who_wait_and_who_come_and_keeps_who_holds():
    line = Line()
    for name in ("one", "two"):
        await line.join(name)
    line.queue.close(stopping())
    await line.join("three")
    for name in ("two", "three"):
        assert isinstance(line.tasks[name].exception(), ServiceStoppingError)
    assert not line.tasks["one"].done()
    idle = asyncio.create_task(line.queue.idle())
    await settle()
    assert not idle.done()
    await line.end("one")
    await idle
    await line.queue.idle()  # at once


async def test_an_error_inside_gives_the_slot_back():
    queue = FairQueue(lambda: 1)
    with pytest.raises(ArithmeticError):
        async with queue.slot():
            raise ArithmeticError
    async with queue.slot(NOBODY):
        pass
