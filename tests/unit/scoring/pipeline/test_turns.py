"""Request slots: concurrency and queue limits, fairness between runs, cancelled requests,
shutdown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from markbook.scoring.errors import ServiceStoppingError, TooManyRequestsError
from markbook.scoring.pipeline.admission import AdmissionController, RequestSlots
from tests.unit.scoring.api.test_keys import api_key
from tests.unit.scoring.hands import Hands

ANN, BOB = api_key("ann", "mb_ann"), api_key("bob", "mb_bob")


class Crowd:
    """Callers of `turns`, started in order; `served` are those who have got a place, in their
    order.
    """

    def __init__(self, turns: RequestSlots) -> None:
        self.turns = turns
        self.served: list[str] = []
        self._places: list[float] = []

    async def _one(self, run: str) -> None:
        self._places.append(await self.turns.acquire(run))
        self.served.append(run)

    async def come(self, *runs: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._one(run)) for run in runs]
        await settled()
        return tasks

    async def end(self, requests: int = 1) -> None:
        for _ in range(requests):
            self.turns.release(self._places.pop())
            await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_as_there_are_places_and_the_next_when_one_is_free():
    crowd = Crowd(RequestSlots(2, 10))
    await crowd.come("a", "a", "a")
    assert crowd.served == ["a", "a"]
    await crowd.end()
    assert crowd.served == ["a", "a", "a"]
    await crowd.end(2)
    await crowd.come("a", "a", "a")
    assert len(crowd.served) == 5  # every place came back, and no more than that


async def test_runs_that_wait_take_turns_however_many_one_of_them_sends():
    crowd = Crowd(RequestSlots(1, 2000))
    await crowd.come("big", *["big"] * 1000, "small", "other", "small")
    await crowd.end(6)
    assert crowd.served == ["big", "big", "small", "other", "big", "small", "big"]


async def test_both_sides_of_the_lines_end():
    crowd = Crowd(RequestSlots(1, 2))
    waiting = await crowd.come("a", "a", "a")
    assert not any(task.done() for task in waiting[1:])
    with pytest.raises(TooManyRequestsError, match="1 requests are in progress and 2 are queued"):
        await crowd.turns.acquire("a")
    await crowd.end()
    await crowd.come("a")
    assert crowd.served == ["a", "a"]
    await crowd.end(2)
    assert crowd.served == ["a"] * 4


async def test_without_a_line_the_first_without_a_place_is_refused():
    turns = RequestSlots(1, 0)
    await turns.acquire("a")
    with pytest.raises(TooManyRequestsError):
        await turns.acquire("b")


async def test_a_full_line_takes_from_the_run_that_waits_most():
    crowd = Crowd(RequestSlots(1, 3))
    first, *_, last = await crowd.come("big", "big", "big", "big")
    await crowd.come("small")
    assert isinstance(last.exception(), TooManyRequestsError)  # 3 and 0 become 2 and 1
    with pytest.raises(TooManyRequestsError):
        await crowd.turns.acquire("small")  # 2 and 1: taking one more would only change places
    with pytest.raises(TooManyRequestsError):
        await crowd.turns.acquire("big")
    await crowd.end(3)
    assert crowd.served == ["big", "big", "small", "big"]
    assert first.exception() is None


async def test_a_caller_that_goes_away_leaves_the_line():
    crowd = Crowd(RequestSlots(1, 2))
    _, gone, stays = await crowd.come("a", "b", "b")
    gone.cancel()
    await settled()
    await crowd.come("c")  # there is room again
    await crowd.end(3)
    assert crowd.served == ["a", "b", "c"]
    assert stays.done()
    assert gone.cancelled()


@pytest.mark.parametrize("first", ["place", "caller"])
async def test_a_caller_that_goes_away_as_its_turn_comes_hands_it_on(first):
    crowd = Crowd(RequestSlots(1, 2))
    _, gone, _ = await crowd.come("a", "b", "c")
    steps: list[Callable[[], object]] = [lambda: crowd.turns.release(0.0), gone.cancel]
    for step in steps if first == "place" else reversed(steps):
        step()  # in one tick: neither sees the other's
    await settled()
    assert crowd.served == ["a", "c"]
    await crowd.end()
    await crowd.come("d", "e")
    assert crowd.served == ["a", "c", "d"]  # one place, still


async def test_a_stop_sends_those_who_wait_away_and_lets_nobody_in():
    reception = AdmissionController(1, 2)
    crowd = Crowd(reception.slots_for(ANN, 1))
    _, gone, waits = await crowd.come("a", "b", "b")
    gone.cancel()
    reception.stop()
    await settled()
    assert isinstance(waits.exception(), ServiceStoppingError)
    for key in (ANN, BOB):
        with pytest.raises(ServiceStoppingError):
            await reception.slots_for(key, 1).acquire("a")
    await crowd.end()
    with pytest.raises(ServiceStoppingError):
        await crowd.turns.acquire("a")


async def test_keys_do_not_share_places():
    reception = AdmissionController(1, 0)
    await reception.slots_for(ANN, 1).acquire("a")
    await reception.slots_for(BOB, 1).acquire("a")
    await reception.slots_for(None, 1).acquire("a")
    with pytest.raises(TooManyRequestsError):
        await reception.slots_for(ANN, 1).acquire("b")


@pytest.mark.parametrize(("took_s", "retry_after"), [(0.0, 1), (30.0, 3), (1000.0, 60)])
async def test_retry_after_is_what_the_line_will_take(took_s, retry_after):
    """The mean starts at 0 and moves by a tenth: after one request of 30 s it is 3 s, for one
    who waits.
    """
    hands = Hands()
    turns = RequestSlots(1, 1, hands)
    since = await turns.acquire("a")
    hands.now += took_s
    turns.release(since)
    await turns.acquire("a")
    waits = asyncio.create_task(turns.acquire("a"))
    await settled()
    with pytest.raises(TooManyRequestsError) as caught:
        await turns.acquire("a")
    assert caught.value.headers == {"Retry-After": str(retry_after)}
    waits.cancel()
