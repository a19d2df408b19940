"""Turns between runs: places, the line and its end, fairness, callers that go away, a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from markbook.scoring.errors import ServiceStopping, TooManyRequests
from markbook.scoring.pipeline.admission import AdmissionController, Turns
from tests.unit.scoring.hands import Hands


class Crowd:
    """Callers of `turns`, started in order; `served` are those who have got a place, in their order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self._places: list[float] = []

    async def _one(self, run: str) -> None:
        self._places.append(await self.turns.take(run))
        self.served.append(run)

    async def come(self, *runs: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._one(run)) for run in runs]
        await settled()
        return tasks

    async def end(self, requests: int = 1) -> None:
        for _ in range(requests):
            self.turns.leave(self._places.pop())
            await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_as_there_are_places_and_the_next_when_one_is_free():
    crowd = Crowd(Turns(2, 10))
    await crowd.come("a", "a", "a")
    assert crowd.served == ["a", "a"]
    await crowd.end()
    assert crowd.served == ["a", "a", "a"]
    await crowd.end(2)
    await crowd.come("a", "a", "a")
    assert len(crowd.served) == 5  # every place came back, and no more than that


async def test_runs_that_wait_take_turns_however_many_one_of_them_sends():
    crowd = Crowd(Turns(1, 2000))
    await crowd.come("big", *["big"] * 1000, "small", "other", "small")
    await crowd.end(6)
    assert crowd.served == ["big", "big", "small", "other", "big", "small", "big"]


async def test_both_sides_of_the_lines_end():
    crowd = Crowd(Turns(1, 2))
    waiting = await crowd.come("a", "a", "a")
    assert not any(task.done() for task in waiting[1:])
    with pytest.raises(TooManyRequests, match="1 requests are being worked on and 2 wait"):
        await crowd.turns.take("a")
    await crowd.end()
    await crowd.come("a")
    assert crowd.served == ["a", "a"]
    await crowd.end(2)
    assert crowd.served == ["a"] * 4


async def test_without_a_line_the_first_without_a_place_is_refused():
    turns = Turns(1, 0)
    await turns.take("a")
    with pytest.raises(TooManyRequests):
        await turns.take("b")


async def test_a_full_line_takes_from_the_run_that_waits_most():
    crowd = Crowd(Turns(1, 3))
    first, *_, last = await crowd.come("big", "big", "big", "big")
    await crowd.come("small")
    assert isinstance(last.exception(), TooManyRequests)  # 3 and 0 become 2 and 1
    with pytest.raises(TooManyRequests):
        await crowd.turns.take("small")  # 2 and 1: taking one more would only change places
    with pytest.raises(TooManyRequests):
        await crowd.turns.take("big")
    await crowd.end(3)
    assert crowd.served == ["big", "big", "small", "big"]
    assert first.exception() is None


async def test_a_caller_that_goes_away_leaves_the_line():
    crowd = Crowd(Turns(1, 2))
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
    crowd = Crowd(Turns(1, 2))
    _, gone, _ = await crowd.come("a", "b", "c")
    steps: list[Callable[[], object]] = [lambda: crowd.turns.leave(0.0), gone.cancel]
    for step in steps if first == "place" else reversed(steps):
        step()  # in one tick: neither sees the other's
    await settled()
    assert crowd.served == ["a", "c"]
    await crowd.end()
    await crowd.come("d", "e")
    assert crowd.served == ["a", "c", "d"]  # one place, still


async def test_a_stop_sends_those_who_wait_away_and_lets_nobody_in():
    reception = AdmissionController(1, 2)
    crowd = Crowd(reception.of("ann"))
    _, gone, waits = await crowd.come("a", "b", "b")
    gone.cancel()
    reception.stop()
    await settled()
    assert isinstance(waits.exception(), ServiceStopping)
    for key in ("ann", "bob"):
        with pytest.raises(ServiceStopping):
            await reception.of(key).take("a")
    await crowd.end()
    with pytest.raises(ServiceStopping):
        await crowd.turns.take("a")


async def test_keys_do_not_share_places():
    reception = AdmissionController(1, 0)
    await reception.of("ann").take("a")
    await reception.of("bob").take("a")
    await reception.of(None).take("a")
    with pytest.raises(TooManyRequests):
        await reception.of("ann").take("b")


@pytest.mark.parametrize(("took_s", "retry_after"), [(0.0, 1), (30.0, 3), (1000.0, 60)])
async def test_retry_after_is_what_the_line_will_take(took_s, retry_after):
    """The mean starts at 0 and moves by a tenth: after one request of 30 s it is 3 s, for one who waits."""
    hands = Hands()
    turns = Turns(1, 1, hands)
    since = await turns.take("a")
    hands.now += took_s
    turns.leave(since)
    await turns.take("a")
    waits = asyncio.create_task(turns.take("a"))
    await settled()
    with pytest.raises(TooManyRequests) as caught:
        await turns.take("a")
    assert caught.value.headers == {"Retry-After": str(retry_after)}
    waits.cancel()
