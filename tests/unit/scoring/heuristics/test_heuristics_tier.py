"""The judge off the event loop: order, the worker, its limits and its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from markbook.scoring.errors import ServiceStoppingError
from markbook.scoring.fair_queue import Caller
from markbook.scoring.heuristics import HeuristicTier, classify
from markbook.scoring.heuristics.tier import INLINE_CHARS
from tests.unit.scoring.samples import GOOD, LANGUAGES

TASK = "Write a program."
LONG = "".join(f"def f{n}(x):\n    return x + {n}\n\n\n" for n in range(60))
BROKEN = LONG + "def g(:\n    return 1\n"
assert len(LONG) > INLINE_CHARS


@pytest.fixture
async def tier() -> AsyncIterator[HeuristicTier]:
    tier = HeuristicTier(limit_s=5.0)  # the machine that runs the tests may be busy
    yield tier
    await tier.close()


async def test_short_samples_need_no_worker(tier: HeuristicTier) -> None:
    samples = [(GOOD[language][:INLINE_CHARS], TASK, language) for language in LANGUAGES]
    assert await tier.classify(samples) == [classify(*sample) for sample in samples]
    assert tier.worker_pid is None


async def test_the_answers_keep_the_order_of_the_samples(tier: HeuristicTier) -> None:
    samples = [
        (LONG, TASK, "python"),
        ("", TASK, "python"),
        (BROKEN, TASK, "python"),
        ("x = [1, 2]\n", TASK, "python"),
    ]
    assert [result.reasons for result in await tier.classify(samples)] == [
        (),
        ("empty",),
        ("unclosed_bracket",),
        (),
    ]
    assert tier.worker_pid is not None


async def test_line_ends_and_stray_characters_reach_the_worker_as_they_are(
    tier: HeuristicTier,
) -> None:
    for code in (LONG.replace("\n", "\r\n"), LONG + "\0", LONG + '"\ud800"', LONG + "\u2028 = 1\n"):
        assert await tier.classify([(code, TASK, "python")]) == [classify(code, TASK, "python")]


async def test_requests_at_the_same_time_get_their_own_answers(tier: HeuristicTier) -> None:
    answers = await asyncio.gather(
        *(tier.classify([((BROKEN if n % 2 else LONG), TASK, "python")]) for n in range(10))
    )
    assert [bool(answer[0].reasons) for answer in answers] == [bool(n % 2) for n in range(10)]


async def test_between_short_samples_others_have_their_turn(tier: HeuristicTier) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await tier.classify([("x = [1, 2]\n", TASK, "python")] * 50)
    task.cancel()
    assert turns >= 50


async def test_a_sample_over_the_limit_goes_to_the_teacher_and_the_next_is_judged() -> None:
    tier = HeuristicTier(limit_s=0.001)
    try:
        slow = "".join(f"x{n} = [{n}, x\n" for n in range(9_000))
        assert await tier.classify([(slow, TASK, "python"), (slow, TASK, "rust")]) == [
            (1.0, ()),
            (1.0, ()),
        ]
        assert (await tier.classify([("def f(:\n    pass", TASK, "python")]))[0].reasons
    finally:
        await tier.close()


async def test_a_worker_that_was_killed_is_replaced(tier: HeuristicTier) -> None:
    await tier.classify([(LONG, TASK, "python")])
    first = tier.worker_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    [result] = await tier.classify(
        [(BROKEN, TASK, "python")]
    )  # not its fault: it is judged all the same
    assert result.reasons == ("unclosed_bracket",)
    assert tier.worker_pid != first


async def test_a_worker_that_hangs_is_given_up_and_replaced(
    tier: HeuristicTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tier.classify([(LONG, TASK, "python")])
    first = tier.worker_pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr("markbook.scoring.heuristics.tier.WORKER_TIMEOUT_S", 0.01)
        assert await tier.classify([(BROKEN, TASK, "python")]) == [(1.0, ())]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert (await tier.classify([(BROKEN, TASK, "python")]))[0].reasons == ("unclosed_bracket",)


async def test_a_worker_that_waits_for_the_cpu_loses_no_sample() -> None:
    tier = HeuristicTier(limit_s=0.2)
    try:
        await tier.classify([(LONG, TASK, "python")])
        pid = tier.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # as on a machine that is busy with other things
        waiting = asyncio.create_task(tier.classify([(BROKEN, TASK, "python")]))
        assert await asyncio.wait([waiting], timeout=0.3) == (
            set(),
            {waiting},
        )  # more of the clock than it has of CPU
        os.kill(pid, signal.SIGCONT)
        assert (await waiting)[0].reasons == ("unclosed_bracket",)
        assert tier.worker_pid == pid
    finally:
        await tier.close()


async def test_requests_take_turns_sample_by_sample(tier: HeuristicTier) -> None:
    await tier.classify([(LONG, TASK, "python")])  # there is a worker
    many = asyncio.create_task(tier.classify([(LONG, TASK, "python")] * 30))
    await asyncio.sleep(0)
    await tier.classify([(BROKEN, TASK, "python")])
    assert not many.done()
    await many


async def test_a_request_that_goes_away_while_the_worker_starts_leaves_nothing_behind(
    tier: HeuristicTier,
) -> None:
    gone = asyncio.create_task(tier.classify([(BROKEN, TASK, "python")]))
    while tier.worker_pid is None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await tier.classify([(LONG, TASK, "python")]) == [(1.0, ())]


async def test_a_request_that_goes_away_leaves_no_answer_behind(tier: HeuristicTier) -> None:
    await tier.classify([(LONG, TASK, "python")])
    gone = asyncio.create_task(tier.classify([(BROKEN, TASK, "python")]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await tier.classify([(LONG, TASK, "python")]) == [(1.0, ())]


async def test_close_ends_the_worker_and_may_be_said_twice() -> None:
    tier = HeuristicTier(limit_s=5.0)
    await tier.classify([(LONG, TASK, "python")])
    pid = tier.worker_pid
    assert pid is not None
    await tier.close()
    await tier.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_who_waits_for_the_worker_takes_turns_by_key_and_a_stop_refuses_the_rest(
    tier: HeuristicTier,
) -> None:
    order: list[str] = []

    async def ask(key: str, number: int) -> None:
        await tier.classify([(f"{LONG}\n# {number}\n", TASK, "python")], Caller(key, "run"))
        order.append(f"{key}{number}")

    many = [asyncio.create_task(ask("a", number)) for number in range(8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    other = asyncio.create_task(ask("b", 0))
    await other
    assert len(order) <= 3  # two of a at most were before it, whatever a has queued
    tier.stop()
    ends = await asyncio.gather(*many, return_exceptions=True)
    assert any(isinstance(end, ServiceStoppingError) for end in ends)
    assert all(end is None or isinstance(end, ServiceStoppingError) for end in ends)
