"""The `scale` profile: several trainers, several replicas behind nginx, one book; parts are
killed and come back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from markbook.client import RetryPolicy, ServiceUnavailableError
from markbook.contract import Sample, Scored, ScoreRequest, ScoreResponse, Source, Unscored
from tests.compose.stack import Stack, inspect, kill

pytestmark = pytest.mark.compose


def request(run: str, task: str, samples: int = 8) -> ScoreRequest:
    prompt = f"Write {task}(number) that returns the number plus one."
    codes = [
        f"def {task}(number):\n    return number + 1 + {place} - {place}\n"
        for place in range(samples)
    ]
    return ScoreRequest(
        run=run, samples=[Sample(prompt=prompt, language="python", code=code) for code in codes]
    )


class Provider:
    """The emulator of the Messages API that the replicas call; `log` has its requests since this
    was made.
    """

    def __init__(self, port: int) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/_emulator")
        self._seen = 0
        self._seen = len(self.log())

    def log(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._http.get("/log").raise_for_status().json()
        return entries[self._seen :]

    def answer_after(self, seconds: float) -> None:
        self._http.put("/settings", json={"latency_s": seconds}).raise_for_status()

    def close(self) -> None:
        self.answer_after(0)
        self._http.close()


@pytest.fixture
def provider(scaled: Stack) -> Iterator[Provider]:
    with closing(Provider(scaled.emulator_port)) as provider:
        yield provider


def scores(answer: ScoreResponse) -> list[float]:
    assert [result.error for result in answer.results if isinstance(result, Unscored)] == []
    return [result.score for result in answer.results if isinstance(result, Scored)]


def until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends, "it did not come to that within a minute"
        time.sleep(0.1)


def ask(stack: Stack, *requests: ScoreRequest) -> list[ScoreResponse]:
    """All at once, each from a client of its own."""

    def one(wanted: ScoreRequest) -> ScoreResponse:
        with stack.through_balancer() as client:
            return client.score_request(wanted)

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def test_what_two_trainers_ask_at_once_is_paid_for_once(scaled: Stack, provider: Provider):
    provider.answer_after(1)  # the other one asks meanwhile
    first, second = ask(scaled, request("one", "both"), request("two", "both"))
    assert scores(first) == scores(second)
    shown = Counter(code for entry in provider.log() for code in entry["codes"])
    assert sorted(shown.values()) == [1] * 8
    with scaled.through_balancer() as client:
        until(lambda: client.stats().runs.keys() >= {"one", "two"})
        runs = client.stats().runs
    assert runs["one"].by_source[Source.TEACHER] + runs["two"].by_source[Source.TEACHER] == 8
    assert runs["one"].teacher_calls + runs["two"].teacher_calls == len(provider.log())


def test_the_second_trainer_pays_nothing_for_what_the_first_has_asked(
    scaled: Stack, provider: Provider
):
    [early] = ask(scaled, request("early", "shared"))
    paid = len(provider.log())
    assert early.usage.teacher_calls == paid > 0
    [late] = ask(scaled, request("late", "shared"))
    assert scores(late) == scores(early)
    assert len(provider.log()) == paid
    with scaled.through_balancer() as client:
        until(lambda: "late" in client.stats().runs)
        runs = client.stats().runs
    for name in ("early", "late"):
        print(
            f"run {name}: {runs[name].teacher_calls} calls, {runs[name].api_tokens_sent} tokens "
            "sent"
        )
    assert runs["early"].api_tokens_sent > 0
    assert (runs["late"].teacher_calls, runs["late"].api_tokens_sent, runs["late"].cost_usd) == (
        0,
        0,
        0,
    )
    assert runs["late"].by_source[Source.CACHE] == 8


def test_killed_replicas_lose_no_sample(scaled: Stack, provider: Provider):
    replicas = scaled.containers("replica")
    provider.answer_after(60)  # longer than the killing takes, on a busy machine too
    requests = [request("killed", f"task_{number}", 2) for number in range(12)]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, scaled, *requests)
        until(lambda: len(provider.log()) >= len(requests))
        kill(*replicas)
        provider.answer_after(0)
        answers = asked.result()
    assert [len(scores(answer)) for answer in answers] == [2] * 12
    assert len(provider.log()) > len(requests)  # what the killed ones were asking was asked again
    with scaled.through_balancer() as client:
        until(lambda: client.stats().runs["killed"].samples == 24)
        counters = client.stats().runs["killed"]
    print(
        f"killed: {len(provider.log())} calls, {counters.teacher_calls} counted, "
        f"{counters.usage_unknown_calls} unknown"
    )
    assert counters.unscored == 0
    scaled.up(within_s=180)
    assert {
        inspect(container, "{{.State.Health.Status}}") for container in scaled.containers("replica")
    } == {"healthy"}


def test_a_killed_database_comes_back_with_every_mark_and_count(scaled: Stack, provider: Provider):
    [answer] = ask(scaled, request("kept", "kept"))
    with scaled.client() as client:
        until(lambda: "kept" in client.stats().runs)
        before = client.stats()
        kill(*scaled.containers("postgres"))
        assert not client.ready()
        with (
            scaled.client(retry_policy=RetryPolicy(wait_s=0)) as hasty,
            pytest.raises(ServiceUnavailableError, match="store_unavailable"),
        ):
            hasty.score_request(request("kept", "kept"))
        scaled.up(within_s=180)
        after = client.stats()
        assert (after.totals, after.runs, after.cache.entries) == (
            before.totals,
            before.runs,
            before.cache.entries,
        )
        again = client.score_request(request("kept", "kept"))
    assert scores(again) == scores(answer)
    assert {result.source for result in again.results} == {Source.CACHE}


def test_all_stop_cleanly(scaled: Stack):
    began = time.monotonic()
    scaled("stop", "--timeout=10", "scoring", "replica", "balancer")
    print(f"three replicas and nginx stopped in {time.monotonic() - began:.1f} s")
    for service in ("scoring", "replica"):
        for container in scaled.containers(service):
            assert inspect(container, "{{.State.ExitCode}}") == "0"
    scaled.up(within_s=180)
