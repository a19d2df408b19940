"""When a gather window ends, on an event loop whose clock the tests move."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence

import pytest

from markbook.contract import Sample, ScoreRequest
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.pipeline.gathering import LAST_PASSES, Entry, GroupGatherer
from markbook.scoring.pipeline.preparation import prepare_samples
from markbook.scoring.pipeline.request_state import RequestState


@pytest.fixture
async def hands(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Awaitable[None]]:
    """Stops the event loop's clock; `await hands(s)` moves it and lets what is due by then
    happen.
    """
    loop, now = asyncio.get_running_loop(), 1000.0
    monkeypatch.setattr(loop, "time", lambda: now)

    async def move(seconds: float) -> None:
        nonlocal now
        now += seconds
        for _ in range(2 * LAST_PASSES + 2):
            await asyncio.sleep(0)

    return move


class Sent:
    """A gatherer with a window of 1 s and groups of up to 3; `groups`: what it sent, `waited_s`
    of each sample.
    """

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.waited_s: list[float] = []
        self.gatherer = GroupGatherer(1.0, 3, self.send, self.waited_s.append)
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, entries: Sequence[Entry]) -> None:
        self.groups.append([entry.item.code for entry in entries])

    async def arrive(
        self, text: str, deadline: float | None = None, task: str = "t", run: str = "run"
    ) -> None:
        sample = Sample(prompt=task, language="python", code=text)
        items = await prepare_samples([sample], "profile", use_tests=True)
        state = RequestState(ScoreRequest(samples=[sample]), items, BillingContext(run), deadline)
        self.tasks.append(asyncio.create_task(self.wait(state)))
        await asyncio.sleep(0)

    async def wait(self, state: RequestState) -> None:
        with self.gatherer.expect(state, state.items) as entry:
            assert entry
            await self.gatherer.wait(entry, entry.item)


async def test_a_window_lasts_from_its_last_arrival(hands):
    sent = Sent()
    await sent.arrive("a")
    await hands(0.75)
    await sent.arrive("b")
    await hands(0.75)  # 1.5 s after the first, 0.75 s after the second
    assert sent.groups == []
    await hands(0.25)
    assert sent.groups == [["a", "b"]]
    assert sent.waited_s == [1.75, 1.0]
    await sent.arrive("c")
    await hands(0.75)
    assert len(sent.groups) == 1
    await hands(0.25)
    assert sent.groups[1:] == [["c"]]


async def test_a_window_has_an_end_however_many_arrive(hands):
    sent = Sent()
    sent.gatherer = GroupGatherer(1.0, 100, sent.send, sent.waited_s.append)
    letters = "abcdefghijklm"
    for text in letters:
        await sent.arrive(text)
        await hands(0.75)
    assert sent.groups == []  # 9.75 s after the first
    await sent.arrive("n")
    await hands(0.25)
    assert sent.groups == [[*letters, "n"]]
    assert max(sent.waited_s) == 10.0


async def test_a_window_lasts_while_its_run_sends_samples_of_other_tasks(hands):
    sent = Sent()
    await sent.arrive("a1", task="a")
    for text in ("b1", "b2"):
        await hands(0.75)
        await sent.arrive(text, task="b")
    await hands(0.75)
    await sent.arrive(
        "a2", task="a"
    )  # 2.25 s after the first of its task, 0.75 s after one of its run
    await hands(0.75)
    assert sent.groups == []
    await hands(0.25)
    assert sorted(sent.groups) == [
        ["a1", "a2"],
        ["b1", "b2"],
    ]  # windows that end together: in any order


async def test_a_window_ends_some_time_after_the_last_of_its_task(hands):
    sent = Sent()
    await sent.arrive("a", task="a")
    for number in range(5):  # to 3.75 s after it
        await hands(0.75)
        await sent.arrive(f"b{number}", task=f"b{number}")
    assert sent.groups == []
    await hands(0.25)
    assert sent.groups == [["a"]]
    assert sent.waited_s == [4.0]
    await hands(0.75)
    assert sorted(sent.groups[1:]) == [["b0"], ["b1"], ["b2"], ["b3"], ["b4"]]


async def test_what_another_run_sends_extends_no_window(hands):
    sent = Sent()
    await sent.arrive("a", task="a")
    await hands(0.75)
    await sent.arrive("b", task="b", run="another")
    await hands(0.25)
    assert sent.groups == [["a"]]
    await hands(0.75)
    assert sent.groups[1:] == [["b"]]


async def test_nothing_is_kept_of_a_run_without_open_windows(hands):
    sent = Sent()
    await sent.arrive("a")
    assert len(sent.gatherer._bursts) == 1
    await hands(1.0)
    await asyncio.gather(*sent.tasks)
    sent.tasks.clear()
    gc.collect()
    assert len(sent.gatherer._bursts) == 0


async def test_a_full_group_goes_at_once_and_a_deadline_by_itself(hands):
    sent = Sent()
    for text in "abcd":
        await sent.arrive(text)
    assert sent.groups == [["a", "b", "c"]]
    assert sent.waited_s == [0.0] * 3
    await sent.arrive("e", deadline=1000.5)
    await hands(0.25)
    assert len(sent.groups) == 1
    await hands(0.25)
    assert sent.groups[1:] == [["d", "e"]]
    await asyncio.gather(*sent.tasks)
