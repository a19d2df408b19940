"""Rate limits per key: both sides of each limit, and the time after which a request is let
through.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from markbook.scoring.errors import TooManyRequestsError
from markbook.scoring.pipeline.rate_limits import RateLimiter
from markbook.scoring.store import ApiKey
from tests.unit.scoring.api.test_keys import api_key, at_once, bearer, store
from tests.unit.scoring.hands import Hands

__all__ = ["at_once", "store"]

SAMPLE = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b\n",
}


def key(requests: int | None = None, samples: int | None = None, name: str = "ann") -> ApiKey:
    return replace(
        api_key(name, f"mb_{name}"), requests_per_minute=requests, samples_per_minute=samples
    )


def refusal(limiter: RateLimiter, by: ApiKey, samples: int = 1) -> tuple[str, str]:
    with pytest.raises(TooManyRequestsError) as caught:
        limiter.take(by, samples)
    return caught.value.detail, caught.value.headers["Retry-After"]


def test_both_sides_of_requests_per_minute():
    hands = Hands()
    limiter, ann = RateLimiter(hands), key(requests=3)
    for _ in range(3):
        limiter.take(ann, 100)
    assert refusal(limiter, ann) == (
        "the API key ann may send 3 requests per minute: retry later",
        "20",
    )
    hands.now += 19.999
    assert refusal(limiter, ann)[1] == "1"
    hands.now += 0.001
    limiter.take(ann, 1)
    assert refusal(limiter, ann)[1] == "20"
    hands.now += 10_000  # no more than a minute's worth is saved up
    for _ in range(3):
        limiter.take(ann, 1)
    refusal(limiter, ann)


def test_both_sides_of_samples_per_minute():
    hands = Hands()
    limiter, ann = RateLimiter(hands), key(samples=60)
    limiter.take(ann, 41)
    assert refusal(limiter, ann, 20) == (
        "the API key ann may send 60 samples per minute: retry later",
        "1",
    )
    limiter.take(ann, 19)
    assert refusal(limiter, ann, 30)[1] == "30"
    hands.now += 30
    limiter.take(ann, 30)


def test_more_samples_than_a_minutes_worth_pass_when_nothing_was_sent_and_are_made_up_for():
    hands = Hands()
    limiter, ann = RateLimiter(hands), key(samples=60)
    limiter.take(ann, 1)
    assert refusal(limiter, ann, 180)[1] == "1"
    hands.now += 1
    limiter.take(ann, 180)
    assert refusal(limiter, ann, 1)[1] == "121"
    hands.now += 121
    limiter.take(ann, 1)


def test_what_one_limit_refuses_counts_for_neither():
    limiter, ann = RateLimiter(Hands()), key(requests=2, samples=10)
    limiter.take(ann, 8)
    for _ in range(5):
        assert "10 samples" in refusal(limiter, ann, 8)[0]
    limiter.take(ann, 2)
    assert "2 requests" in refusal(limiter, ann, 1)[0]


def test_keys_and_requests_without_a_key_do_not_share_a_limit():
    limiter = RateLimiter(Hands())
    limiter.take(key(requests=1), 1)
    limiter.take(key(requests=1, name="bob"), 1)
    for _ in range(3):
        limiter.take(key(), 1_000)
        limiter.take(None, 1_000)
    refusal(limiter, key(requests=1))


def test_a_limit_that_was_changed_applies_to_the_next_request():
    limiter = RateLimiter(Hands())
    limiter.take(key(requests=10), 1)
    limiter.take(key(requests=1), 1)  # nine are left, and at most one may be
    refusal(limiter, key(requests=1))


@pytest.mark.parametrize("route", ["/score", "/get_reward?language=python"])
async def test_over_the_limit_the_response_is_a_429_with_retry_after(
    service, store, at_once, database_url, route
):
    await store.keys.add(key(samples=1))
    await store.keys.add(key(name="bob"))
    query = {"query": [SAMPLE["prompt"] + SAMPLE["code"]], "prompts": [SAMPLE["prompt"]]}
    body = {"samples": [SAMPLE]} if route == "/score" else query
    async with service(database_url=database_url) as http:
        first = await http.post(route, json=body, headers=bearer("mb_ann"))
        second = await http.post(route, json=body, headers=bearer("mb_ann"))
        other = await http.post(route, json=body, headers=bearer("mb_bob"))
        stats = (await http.get("/stats", headers=bearer("mb_ann"))).json()
    assert (first.status_code, second.status_code, other.status_code) == (200, 429, 200)
    assert second.json()["error"] == "too_many_requests"
    assert int(second.headers["retry-after"]) in (59, 60)
    assert stats["totals"]["samples"] == 2  # what was refused is not counted
