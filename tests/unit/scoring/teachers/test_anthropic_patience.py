"""The retry layer and the warm-up, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.errors import ServiceStoppingError
from markbook.scoring.teachers.anthropic import circuit_breaker as breakers
from markbook.scoring.teachers.anthropic.cache_warmup import CacheWarmup
from markbook.scoring.teachers.anthropic.circuit_breaker import CircuitBreaker
from markbook.scoring.teachers.anthropic.concurrency_limiter import ConcurrencyLimiter
from markbook.scoring.teachers.anthropic.retry import Attempt, AttemptOutcome, RetryPolicy
from markbook.scoring.types import ScoringFailure, TeacherCall
from tests.unit.scoring.hands import Hands


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def patience(hands: Hands) -> RetryPolicy:
    limiter = ConcurrencyLimiter(4, hands, lambda: 1_000_000.0 + hands.now)
    return RetryPolicy(
        CircuitBreaker(hands), limiter, CacheWarmup(300.0, hands), hands, hands.sleep, lambda: 1.0
    )


def answer(*, read: int = 0, written: int = 0) -> Attempt[str]:
    call = TeacherCall(
        "m", "end_turn", cache_read_input_tokens=read, cache_creation_input_tokens=written
    )
    return Attempt(AttemptOutcome.ANSWER, call, message="fine")


def trouble(
    found: AttemptOutcome = AttemptOutcome.DOWN, retry_after_s: float | None = None
) -> Attempt[str]:
    failure = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, "529 overloaded", retry_after_s)
    return Attempt(found, TeacherCall("m", found.name), failure=failure)


def script(*results: Attempt[str]) -> Callable[[float], Awaitable[Attempt[str]]]:
    left = list(results)

    async def attempt(_: float) -> Attempt[str]:
        return left.pop(0)

    return attempt


async def attempts(
    patience: RetryPolicy, *results: Attempt[str], deadline: float = 200.0
) -> tuple[str | ScoringFailure, int]:
    calls = 0
    play = script(*results)

    async def attempt(left_s: float) -> Attempt[str]:
        nonlocal calls
        calls += 1
        return await play(left_s)

    outcome = await patience.execute(attempt, {"requests": 1}, deadline)
    return outcome, calls


async def test_retries_back_off_exponentially_and_every_call_is_booked(
    patience: RetryPolicy, hands: Hands
) -> None:
    outcome, calls = await attempts(patience, *[trouble()] * 6, answer())
    assert (outcome, calls) == ("fine", 7)
    assert hands.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


async def test_jitter_takes_off_at_most_half(hands: Hands) -> None:
    eager = RetryPolicy(
        CircuitBreaker(hands),
        ConcurrencyLimiter(4, hands, hands),
        CacheWarmup(300.0, hands),
        hands,
        hands.sleep,
        lambda: 0.0,
    )
    await attempts(eager, trouble(), trouble(), answer())
    assert hands.slept == [0.25, 0.5]


async def test_a_retry_after_is_honoured_up_to_the_deadline(
    patience: RetryPolicy, hands: Hands
) -> None:
    outcome, calls = await attempts(patience, trouble(retry_after_s=30.0), answer())
    assert (outcome, calls) == ("fine", 2)
    assert hands.slept[0] >= 30.0
    outcome, calls = await attempts(
        patience, trouble(retry_after_s=90.0), answer(), deadline=hands.now + 60
    )
    assert calls == 1
    assert isinstance(outcome, ScoringFailure)
    assert outcome.retry_after_s == 90.0


async def test_no_attempt_begins_after_the_deadline(patience: RetryPolicy, hands: Hands) -> None:
    outcome, calls = await attempts(patience, *[trouble()] * 20, deadline=hands.now + 4)
    assert isinstance(outcome, ScoringFailure)
    assert calls == 4  # at 0, 0.5, 1.5 and 3.5 seconds
    assert hands.now <= 104


async def test_nothing_is_asked_once_the_deadline_has_come(
    patience: RetryPolicy, hands: Hands
) -> None:
    outcome, calls = await attempts(patience, answer(), deadline=hands.now)
    assert isinstance(outcome, ScoringFailure)
    assert (outcome.code, outcome.retry_after_s, calls) == (ErrorCode.TEACHER_TIMEOUT, 1.0, 0)
    assert (await attempts(patience, answer(), deadline=hands.now + 0.01)) == ("fine", 1)


async def test_nothing_is_asked_if_the_deadline_came_while_it_waited_for_its_place(
    patience: RetryPolicy, hands: Hands
) -> None:
    gone_on = asyncio.Event()

    async def slow(_: float) -> Attempt[str]:
        await gone_on.wait()
        hands.now += 10
        return answer()

    first = asyncio.create_task(patience.execute(slow, {}, hands.now + 100))
    second = asyncio.create_task(
        attempts(patience, answer(), deadline=hands.now + 10)
    )  # waits for the warm-up
    third = asyncio.create_task(attempts(patience, answer(), deadline=hands.now + 10.01))
    await asyncio.sleep(0)
    gone_on.set()
    assert await first == "fine"
    outcome, calls = await second
    assert isinstance(outcome, ScoringFailure)
    assert (outcome.code, calls) == (ErrorCode.TEACHER_TIMEOUT, 0)
    assert await third == ("fine", 1)


async def test_a_failure_before_the_deadline_says_more_than_that_it_has_come(
    patience: RetryPolicy, hands: Hands
) -> None:
    async def oversleep(seconds: float) -> None:
        hands.now += 2 * seconds

    sleepy = replace(patience, sleep=oversleep)
    outcome, calls = await attempts(sleepy, trouble(), answer(), deadline=hands.now + 1)
    assert isinstance(outcome, ScoringFailure)
    assert (outcome.detail, calls) == ("529 overloaded", 1)


@pytest.mark.parametrize("found", [AttemptOutcome.DOWN, AttemptOutcome.RATE_LIMIT])
async def test_what_may_pass_says_after_how_long_to_ask_again(
    patience: RetryPolicy, hands: Hands, found: AttemptOutcome
) -> None:
    outcome, calls = await attempts(patience, *[trouble(found)] * 3, deadline=hands.now + 2)
    assert isinstance(outcome, ScoringFailure)
    # at 0, 0.5 and 1.5 seconds; the next one would have been 2 s later
    assert (outcome.retry_after_s, calls) == (2.0, 3)
    outcome, _ = await attempts(patience, trouble(found, 90.0), deadline=hands.now + 2)
    assert isinstance(outcome, ScoringFailure)
    assert outcome.retry_after_s == 90.0  # the teacher's own word


async def test_a_rejection_is_final(patience: RetryPolicy, hands: Hands) -> None:
    outcome, calls = await attempts(patience, trouble(AttemptOutcome.REJECTION), answer())
    assert isinstance(outcome, ScoringFailure)
    assert (calls, hands.slept, outcome.retry_after_s) == (1, [], None)


async def test_while_the_teacher_is_down_requests_fail_at_once(
    patience: RetryPolicy, hands: Hands
) -> None:
    outcome, calls = await attempts(patience, *[trouble()] * 50, deadline=1e9)
    assert calls == breakers.FAILURES
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.TEACHER_UNAVAILABLE
    assert "529 overloaded" in outcome.detail
    asleep = len(hands.slept)
    outcome, calls = await attempts(patience, answer())
    assert calls == 0
    assert isinstance(outcome, ScoringFailure)
    assert outcome.retry_after_s is not None
    assert 0 < outcome.retry_after_s <= breakers.COOLDOWN_S
    assert len(hands.slept) == asleep
    hands.now += breakers.COOLDOWN_S
    assert (await attempts(patience, answer(), deadline=1e9))[0] == "fine"


async def test_rate_limits_do_not_open_the_breaker(patience: RetryPolicy) -> None:
    results = [trouble(AttemptOutcome.RATE_LIMIT)] * (breakers.FAILURES + 5)
    assert (await attempts(patience, *results, answer(), deadline=1e9))[0] == "fine"


async def test_a_retry_after_pauses_all_calls_not_only_the_one_that_got_it(
    patience: RetryPolicy, hands: Hands
) -> None:
    outcome, _ = await attempts(
        patience, trouble(AttemptOutcome.RATE_LIMIT, 50.0), deadline=hands.now + 10
    )
    assert isinstance(outcome, ScoringFailure)
    other, calls = await attempts(patience, answer(), deadline=hands.now + 10)
    assert isinstance(other, ScoringFailure)
    assert (other.retry_after_s, calls) == (50.0, 0)
    assert (await attempts(patience, answer(), deadline=hands.now + 60))[0] == "fine"
    assert hands.slept[-1] == 50.0


async def fan_out(patience: RetryPolicy, hands: Hands, results: list[Attempt[str]]) -> list[int]:
    """How many calls were in flight when each began."""
    seen: list[int] = []
    in_flight = 0

    async def attempt(_: float) -> Attempt[str]:
        nonlocal in_flight
        in_flight += 1
        seen.append(in_flight)
        for _ in range(50):  # longer than the others take to begin
            await asyncio.sleep(0)
        in_flight -= 1
        return results.pop(0)

    await asyncio.gather(
        *(patience.execute(attempt, {}, hands.now + 100) for _ in range(len(results)))
    )
    return seen


async def test_one_call_warms_the_cache_then_the_others_go_together(
    patience: RetryPolicy, hands: Hands
) -> None:
    assert await fan_out(patience, hands, [answer(written=900), *[answer(read=900)] * 3]) == [
        1,
        1,
        2,
        3,
    ]
    assert await fan_out(patience, hands, [answer(read=900)] * 4) == [1, 2, 3, 4]
    hands.now += 301
    assert (await fan_out(patience, hands, [answer(written=900), *[answer(read=900)] * 3]))[:2] == [
        1,
        1,
    ]


async def test_a_server_without_a_cache_is_waited_for_once(
    patience: RetryPolicy, hands: Hands
) -> None:
    assert await fan_out(patience, hands, [answer()] * 4) == [1, 1, 2, 3]
    hands.now += 1e6
    assert await fan_out(patience, hands, [answer()] * 4) == [1, 2, 3, 4]


async def test_nobody_waits_where_nothing_is_to_be_cached(hands: Hands) -> None:
    warmup = CacheWarmup(None, hands)
    assert warmup.is_warm()
    warmup.on_answer(hands.now, cached=True)
    assert warmup.is_warm()


async def test_when_the_first_call_fails_the_next_one_warms(
    patience: RetryPolicy, hands: Hands
) -> None:
    seen = await fan_out(
        patience,
        hands,
        [trouble(AttemptOutcome.REJECTION), answer(written=9), answer(read=9), answer(read=9)],
    )
    assert seen == [1, 1, 1, 2]


async def test_nobody_waits_for_the_first_call_for_long(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("markbook.scoring.teachers.anthropic.cache_warmup.MAX_WAIT_S", 0.01)
    warmup = CacheWarmup(300.0, hands)
    async with warmup.acquire(), asyncio.timeout(1), warmup.acquire():
        pass


async def test_a_stop_wakes_who_waits_for_another_attempt(patience):
    patience = replace(patience, sleep=lambda _: asyncio.get_running_loop().create_future())
    waits = asyncio.create_task(
        patience.execute(script(trouble(retry_after_s=50.0)), {"requests": 1}, 200.0)
    )
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waits.done()
    patience.stop()
    with pytest.raises(ServiceStoppingError):
        await waits


async def test_a_stop_refuses_who_waits_for_a_slot_and_lets_a_call_end(patience):
    patience.limiter.limit = 1.0
    patience.warmup.on_answer(0.0, cached=True)
    let = asyncio.Event()

    async def slow(_: float) -> Attempt[str]:
        await let.wait()
        return answer(read=1)

    running, waiting = (asyncio.create_task(patience.execute(slow, {}, 200.0)) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    patience.stop()
    with pytest.raises(ServiceStoppingError):
        await waiting
    let.set()
    assert await running == "fine"


async def test_a_stop_refuses_who_waits_for_the_warm_up(patience):
    let = asyncio.Event()

    async def slow(_: float) -> Attempt[str]:
        await let.wait()
        return answer(written=1)

    first, second = (asyncio.create_task(patience.execute(slow, {}, 200.0)) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    patience.stop()
    with pytest.raises(ServiceStoppingError):
        await second
    let.set()
    assert await first == "fine"
