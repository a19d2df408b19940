"""Breaker, limiter, warm-up and the retry layer, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from services.scoring.teachers import breaker as breakers
from services.scoring.teachers.base import Call, Failure
from services.scoring.teachers.breaker import Breaker
from services.scoring.teachers.limiter import Limiter
from services.scoring.teachers.retry import Attempt, Found, Patience
from services.scoring.teachers.warmth import Warmth
from shared.contract import ErrorCode


class Hands:
    """A clock and a sleep that moves it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def patience(hands: Hands) -> Patience:
    limiter = Limiter(4, hands, lambda: 1_000_000.0 + hands.now)
    return Patience(Breaker(hands), limiter, Warmth(300.0, hands), hands, hands.sleep, lambda: 1.0)


def answer(*, read: int = 0, written: int = 0) -> Attempt[str]:
    call = Call("m", "end_turn", cache_read_input_tokens=read, cache_creation_input_tokens=written)
    return Attempt(Found.ANSWER, call, message="fine")


def trouble(found: Found = Found.DOWN, retry_after_s: float | None = None) -> Attempt[str]:
    failure = Failure(ErrorCode.TEACHER_UNAVAILABLE, "529 overloaded", retry_after_s)
    return Attempt(found, Call("m", found.name), failure=failure)


def script(*results: Attempt[str]) -> Callable[[float], Awaitable[Attempt[str]]]:
    left = list(results)

    async def attempt(_: float) -> Attempt[str]:
        return left.pop(0)

    return attempt


async def persist(patience: Patience, *results: Attempt[str], deadline: float = 200.0) -> tuple[str | Failure, int]:
    calls = 0
    play = script(*results)

    async def attempt(left_s: float) -> Attempt[str]:
        nonlocal calls
        calls += 1
        return await play(left_s)

    outcome = await patience.persist(attempt, {"requests": 1}, deadline)
    return outcome, calls


async def test_retries_back_off_exponentially_and_every_call_is_booked(patience: Patience, hands: Hands) -> None:
    outcome, calls = await persist(patience, *[trouble()] * 6, answer())
    assert (outcome, calls) == ("fine", 7)
    assert hands.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


async def test_jitter_takes_off_at_most_half(hands: Hands) -> None:
    eager = Patience(Breaker(hands), Limiter(4, hands, hands), Warmth(300.0, hands), hands, hands.sleep, lambda: 0.0)
    await persist(eager, trouble(), trouble(), answer())
    assert hands.slept == [0.25, 0.5]


async def test_a_retry_after_is_honoured_up_to_the_deadline(patience: Patience, hands: Hands) -> None:
    outcome, calls = await persist(patience, trouble(retry_after_s=30.0), answer())
    assert (outcome, calls) == ("fine", 2)
    assert hands.slept[0] >= 30.0
    outcome, calls = await persist(patience, trouble(retry_after_s=90.0), answer(), deadline=hands.now + 60)
    assert calls == 1
    assert isinstance(outcome, Failure)
    assert outcome.retry_after_s == 90.0


async def test_no_attempt_begins_after_the_deadline(patience: Patience, hands: Hands) -> None:
    outcome, calls = await persist(patience, *[trouble()] * 20, deadline=hands.now + 4)
    assert isinstance(outcome, Failure)
    assert calls == 4  # at 0, 0.5, 1.5 and 3.5 seconds
    assert hands.now <= 104


async def test_a_rejection_is_final(patience: Patience, hands: Hands) -> None:
    outcome, calls = await persist(patience, trouble(Found.REJECTION), answer())
    assert isinstance(outcome, Failure)
    assert (calls, hands.slept) == (1, [])


async def test_the_breaker_opens_fails_fast_lets_one_try_and_closes(hands: Hands) -> None:
    breaker = Breaker(hands)
    for _ in range(breakers.FAILURES - 1):
        breaker.failed()
    assert breaker.wait_s() == 0.0
    breaker.failed()
    assert breaker.wait_s() == breakers.COOLDOWN_S
    hands.now += breakers.COOLDOWN_S - 1
    assert breaker.wait_s() == 1.0
    hands.now += 1
    assert breaker.wait_s() == 0.0  # this one tries
    assert breaker.wait_s() == breakers.COOLDOWN_S  # the next one does not
    breaker.failed()
    assert breaker.wait_s() == breakers.COOLDOWN_S
    hands.now += breakers.COOLDOWN_S
    assert breaker.wait_s() == 0.0
    breaker.succeeded()
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() == 0.0


async def test_a_success_in_between_starts_the_count_anew(hands: Hands) -> None:
    breaker = Breaker(hands)
    for _ in range(3):
        for _ in range(breakers.FAILURES - 1):
            breaker.failed()
        breaker.succeeded()
    assert not breaker.open


async def test_while_the_teacher_is_down_requests_fail_at_once(patience: Patience, hands: Hands) -> None:
    outcome, calls = await persist(patience, *[trouble()] * 50, deadline=1e9)
    assert calls == breakers.FAILURES
    assert isinstance(outcome, Failure)
    assert outcome.code is ErrorCode.TEACHER_UNAVAILABLE
    assert "529 overloaded" in outcome.detail
    asleep = len(hands.slept)
    outcome, calls = await persist(patience, answer())
    assert calls == 0
    assert isinstance(outcome, Failure)
    assert outcome.retry_after_s is not None
    assert 0 < outcome.retry_after_s <= breakers.COOLDOWN_S
    assert len(hands.slept) == asleep
    hands.now += breakers.COOLDOWN_S
    assert (await persist(patience, answer(), deadline=1e9))[0] == "fine"


async def test_rate_limits_do_not_open_the_breaker(patience: Patience) -> None:
    results = [trouble(Found.RATE_LIMIT)] * (breakers.FAILURES + 5)
    assert (await persist(patience, *results, answer(), deadline=1e9))[0] == "fine"


async def test_a_429_halves_the_calls_in_flight_once_a_burst_and_successes_win_them_back(hands: Hands) -> None:
    limiter = Limiter(8, hands, hands)
    begun = hands.now
    hands.now += 1
    for _ in range(5):
        limiter.throttled(begun, None)
    assert limiter.limit == 4
    limiter.throttled(hands.now + 1, None)
    assert limiter.limit == 2
    limiter.succeeded()
    assert limiter.limit == 2.5
    for _ in range(100):
        limiter.succeeded()
    assert limiter.limit == 8
    for at in range(10):
        hands.now += 1
        limiter.throttled(hands.now + at, None)
    assert limiter.limit == 1


async def test_no_more_calls_than_the_limit_are_in_flight(hands: Hands) -> None:
    limiter = Limiter(3, hands, hands)
    most = in_flight = 0

    async def call() -> None:
        nonlocal most, in_flight
        async with limiter.slot():
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1

    await asyncio.gather(*(call() for _ in range(20)))
    assert most == 3


async def test_a_waiter_that_gives_up_leaves_its_place(hands: Hands) -> None:
    limiter = Limiter(1, hands, hands)
    async with AsyncExitStack() as held:
        await held.enter_async_context(limiter.slot())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), limiter.slot():
                pass
    async with asyncio.timeout(1), limiter.slot():
        pass


async def test_headers_lower_the_calls_in_flight_and_pause_when_used_up(hands: Hands) -> None:
    limiter = Limiter(8, hands, lambda: 1_000_000.0)
    reset = datetime.fromtimestamp(1_000_012, UTC).isoformat()
    need = {"requests": 1, "input-tokens": 1000}
    headers = {
        "anthropic-ratelimit-requests-remaining": "6",
        "anthropic-ratelimit-input-tokens-remaining": "5999",
        "anthropic-ratelimit-input-tokens-reset": reset.replace("+00:00", "Z"),
    }
    limiter.heed(headers, need)
    assert (limiter.limit, limiter.pause_s()) == (5, 0.0)
    limiter.heed({**headers, "anthropic-ratelimit-input-tokens-remaining": "999"}, need)
    assert (limiter.limit, limiter.pause_s()) == (1, pytest.approx(12.0))
    hands.now += 12
    assert limiter.pause_s() == 0.0
    limiter.heed({}, need)
    limiter.heed({"anthropic-ratelimit-requests-remaining": "many"}, need)
    assert limiter.limit == 1


@pytest.mark.parametrize(
    ("reset", "pause"), [("2100-01-01T00:00:00Z", 60.0), ("2001-01-01T00:00:00Z", 0.0), ("?", 0.0)]
)
async def test_a_reset_date_that_cannot_be_true_does_not_stop_everything(
    hands: Hands, reset: str, pause: float
) -> None:
    limiter = Limiter(8, hands, lambda: 1_700_000_000.0)
    headers = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": reset}
    limiter.heed(headers, {"requests": 1})
    assert limiter.pause_s() == pause


async def test_a_retry_after_pauses_all_calls_not_only_the_one_that_got_it(patience: Patience, hands: Hands) -> None:
    outcome, _ = await persist(patience, trouble(Found.RATE_LIMIT, 50.0), deadline=hands.now + 10)
    assert isinstance(outcome, Failure)
    other, calls = await persist(patience, answer(), deadline=hands.now + 10)
    assert isinstance(other, Failure)
    assert (other.retry_after_s, calls) == (50.0, 0)
    assert (await persist(patience, answer(), deadline=hands.now + 60))[0] == "fine"
    assert hands.slept[-1] == 50.0


async def fan_out(patience: Patience, hands: Hands, results: list[Attempt[str]]) -> list[int]:
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

    await asyncio.gather(*(patience.persist(attempt, {}, hands.now + 100) for _ in range(len(results))))
    return seen


async def test_one_call_warms_the_cache_then_the_others_go_together(patience: Patience, hands: Hands) -> None:
    assert await fan_out(patience, hands, [answer(written=900), *[answer(read=900)] * 3]) == [1, 1, 2, 3]
    assert await fan_out(patience, hands, [answer(read=900)] * 4) == [1, 2, 3, 4]
    hands.now += 301
    assert (await fan_out(patience, hands, [answer(written=900), *[answer(read=900)] * 3]))[:2] == [1, 1]


async def test_a_server_without_a_cache_is_waited_for_once(patience: Patience, hands: Hands) -> None:
    assert await fan_out(patience, hands, [answer()] * 4) == [1, 1, 2, 3]
    hands.now += 1e6
    assert await fan_out(patience, hands, [answer()] * 4) == [1, 2, 3, 4]


async def test_nobody_waits_where_nothing_is_to_be_cached(hands: Hands) -> None:
    warmth = Warmth(None, hands)
    assert warmth.warm()
    warmth.answered(hands.now, cached=True)
    assert warmth.warm()


async def test_when_the_first_call_fails_the_next_one_warms(patience: Patience, hands: Hands) -> None:
    seen = await fan_out(patience, hands, [trouble(Found.REJECTION), answer(written=9), answer(read=9), answer(read=9)])
    assert seen == [1, 1, 1, 2]


async def test_nobody_waits_for_the_first_call_for_long(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.scoring.teachers.warmth.LONGEST_WAIT_S", 0.01)
    warmth = Warmth(300.0, hands)
    async with warmth.turn(), asyncio.timeout(1), warmth.turn():
        pass
