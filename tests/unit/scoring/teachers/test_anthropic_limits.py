"""The circuit breaker and the limiter, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from markbook.scoring.fair_queue import Caller
from markbook.scoring.teachers.anthropic import circuit_breaker as breakers
from markbook.scoring.teachers.anthropic.circuit_breaker import CircuitBreaker
from markbook.scoring.teachers.anthropic.concurrency_limiter import MAX_RESET_S, ConcurrencyLimiter
from markbook.scoring.teachers.protocol import Outage
from tests.unit.scoring.hands import Hands


@pytest.fixture
def hands() -> Hands:
    return Hands()


async def test_the_breaker_opens_fails_fast_lets_one_try_and_closes(hands: Hands) -> None:
    breaker = CircuitBreaker(hands)
    for _ in range(breakers.FAILURES - 1):
        breaker.on_failure()
    assert breaker.wait_s() == 0.0
    breaker.on_failure()
    assert breaker.wait_s() == breakers.COOLDOWN_S
    hands.now += breakers.COOLDOWN_S - 1
    assert breaker.wait_s() == 1.0
    hands.now += 1
    assert breaker.wait_s() == 0.0  # this one tries
    assert breaker.wait_s() == breakers.COOLDOWN_S  # the next one does not
    breaker.on_failure()
    assert breaker.wait_s() == breakers.COOLDOWN_S
    hands.now += breakers.COOLDOWN_S
    assert breaker.wait_s() == 0.0
    breaker.on_success()
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() == 0.0


async def test_a_success_in_between_starts_the_count_anew(hands: Hands) -> None:
    breaker = CircuitBreaker(hands)
    for _ in range(3):
        for _ in range(breakers.FAILURES - 1):
            breaker.on_failure()
        breaker.on_success()
    assert not breaker.open


async def test_a_429_halves_the_calls_in_flight_once_a_burst_and_successes_win_them_back(
    hands: Hands,
) -> None:
    limiter = ConcurrencyLimiter(8, hands, hands)
    begun = hands.now
    hands.now += 1
    for _ in range(5):
        limiter.on_rate_limited(begun, None)
    assert limiter.limit == 4
    limiter.on_rate_limited(hands.now + 1, None)
    assert limiter.limit == 2
    limiter.on_success()
    assert limiter.limit == 2.5
    for _ in range(100):
        limiter.on_success()
    assert limiter.limit == 8
    for at in range(10):
        hands.now += 1
        limiter.on_rate_limited(hands.now + at, None)
    assert limiter.limit == 1


async def test_no_more_calls_than_the_limit_are_in_flight(hands: Hands) -> None:
    limiter = ConcurrencyLimiter(3, hands, hands)
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
    limiter = ConcurrencyLimiter(1, hands, hands)
    async with AsyncExitStack() as held:
        await held.enter_async_context(limiter.slot())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), limiter.slot():
                pass
    async with asyncio.timeout(1), limiter.slot():
        pass


async def test_headers_lower_the_calls_in_flight_and_pause_when_used_up(hands: Hands) -> None:
    limiter = ConcurrencyLimiter(8, hands, lambda: 1_000_000.0)
    reset = datetime.fromtimestamp(1_000_012, UTC).isoformat()
    need = {"requests": 1, "input-tokens": 1000}
    headers = {
        "anthropic-ratelimit-requests-remaining": "6",
        "anthropic-ratelimit-input-tokens-remaining": "5999",
        "anthropic-ratelimit-input-tokens-reset": reset.replace("+00:00", "Z"),
    }
    limiter.update_from_headers(headers, need)
    assert (limiter.limit, limiter.pause_s()) == (5, 0.0)
    limiter.update_from_headers(
        {**headers, "anthropic-ratelimit-input-tokens-remaining": "999"}, need
    )
    assert (limiter.limit, limiter.pause_s()) == (1, pytest.approx(12.0))
    hands.now += 12
    assert limiter.pause_s() == 0.0
    limiter.update_from_headers({}, need)
    limiter.update_from_headers({"anthropic-ratelimit-requests-remaining": "many"}, need)
    assert limiter.limit == 1


@pytest.mark.parametrize(
    ("reset", "pause"), [("2100-01-01T00:00:00Z", 60.0), ("2001-01-01T00:00:00Z", 0.0), ("?", 0.0)]
)
async def test_a_reset_date_that_cannot_be_true_does_not_stop_everything(
    hands: Hands, reset: str, pause: float
) -> None:
    limiter = ConcurrencyLimiter(8, hands, lambda: 1_700_000_000.0)
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": reset,
    }
    limiter.update_from_headers(headers, {"requests": 1})
    assert limiter.pause_s() == pause


@pytest.mark.parametrize("header", ["9" * 5000, "\u0665", "\xb2", "-1", "1.5", "", " 1"])
async def test_a_header_that_is_no_count_tells_nothing(hands: Hands, header: str) -> None:
    limiter = ConcurrencyLimiter(4, hands, hands)
    limiter.update_from_headers({"anthropic-ratelimit-requests-remaining": header}, {"requests": 1})
    assert (limiter.limit, limiter.pause_s()) == (4.0, 0.0)


async def test_a_retry_after_of_any_length_holds_all_calls_up_for_a_minute_at_most(
    hands: Hands,
) -> None:
    limiter = ConcurrencyLimiter(4, hands, hands)
    limiter.on_rate_limited(hands.now, 86_400.0)
    assert limiter.pause_s() == MAX_RESET_S
    limiter.on_rate_limited(hands.now, 5.0)
    assert limiter.pause_s() == MAX_RESET_S


async def test_a_call_waits_for_the_turn_of_its_key(hands: Hands) -> None:
    limiter = ConcurrencyLimiter(1, hands, hands)
    order: list[str] = []

    async def call(name: str, key: str) -> None:
        async with limiter.slot(Caller(key, "run")):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name, key in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")):
            group.create_task(call(name, key))
    assert order == ["a1", "a2", "b1", "a3"]


async def test_an_outage_is_said_when_it_begins_and_when_it_ends(
    hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    wall = Hands()
    breaker = CircuitBreaker(hands, wall)
    for number in range(breakers.FAILURES - 1):
        breaker.on_failure(f"529 overloaded {number}")
        wall.now += 1
    assert (breaker.outage, caplog.messages) == (None, [])
    for _ in range(3):
        breaker.on_failure("529 overloaded")
    assert breaker.outage == Outage(100.0, "529 overloaded")  # since the first of these failures
    wall.now = 160.0
    breaker.on_success()
    breaker.on_success()
    assert breaker.outage is None
    assert caplog.messages == [
        f"the teacher is down: {breakers.FAILURES} consecutive calls failed; probing every 10 s: "
        "529 overloaded",
        "the teacher is up again after 60 s",
    ]
