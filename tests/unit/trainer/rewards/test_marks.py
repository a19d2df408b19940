"""Asking for marks over real HTTP: order, patience, giving up, refusals, disagreement about the
policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from markbook.client import RequestRejectedError, RetryPolicy, ScoringClient
from markbook.config.loading import ConfigError
from markbook.config.settings import SERVICE_OWNED, Rlaif
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.rewards.client import RewardClient, check_policy
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import StubService, scored

SAMPLES = [
    Sample(Task(0, "a task", "python", (1,)), (2,), text, truncated=False)
    for text in ("bb", "a", "ccc")
]
AWAY = (503, {"error": "store_unavailable", "detail": "no database"})


def by_length(sample):
    return scored(len(sample.code) / 10)


class Recorded:
    """Lines said and pauses taken; time passes by `moments`, the clock's readings, or not at
    all.
    """

    def __init__(self, *moments):
        self.lines = []
        self.pauses = []
        self._moments = list(moments)

    def clock(self):
        return self._moments.pop(0) if self._moments else 0.0

    async def sleep(self, seconds):
        self.pauses.append(seconds)


@pytest.fixture
def marker():
    """`marker(url, recorded, wait_s)`; its client is closed at the end."""
    with contextlib.ExitStack() as opened:

        def make(url, recorded, wait_s=60.0):
            retry_policy = RetryPolicy(
                sleep=recorded.sleep, clock=recorded.clock, jitter=lambda: 1.0
            )
            client = opened.enter_context(
                ScoringClient(url, timeout_s=10, retry_policy=retry_policy)
            )
            return RewardClient(client, wait_s, recorded.lines.append)

        yield make


def test_a_group_is_one_request_with_raw_text_and_its_results_keep_the_order(marker):
    with StubService(by_length) as service:
        results = marker(service.url, Recorded()).submit("run/7", SAMPLES).result(timeout=30)
        assert [result.score for result in results] == [0.2, 0.1, 0.3]
        [request] = service.requests
    assert request.run == "run/7"
    assert [(s.prompt, s.language, s.code) for s in request.samples] == [
        ("a task", "python", s.text) for s in SAMPLES
    ]


def test_a_service_that_is_away_is_asked_again(marker):
    recorded = Recorded()
    with StubService(by_length, faults=[AWAY, AWAY, AWAY]) as service:
        results = marker(service.url, recorded).submit("run", SAMPLES).result(timeout=30)
        assert len(results) == 3
        assert len(service.requests) == 1
    assert recorded.pauses == [0.5, 1.0, 2.0]
    assert len(recorded.lines) == 2  # one when it went, one when it came back
    assert "no database; retrying for up to 60 s (rlaif.service_wait_s)" in recorded.lines[0]
    assert recorded.lines[1] == "the scoring service answers again"


def test_a_service_that_was_down_and_comes_back_marks_the_group(marker):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    up = threading.Event()
    waiting = threading.Event()
    recorded = Recorded()

    async def pause(_seconds):
        waiting.set()
        await asyncio.to_thread(up.wait, 30)

    recorded.sleep = pause
    future = marker(f"http://127.0.0.1:{port}", recorded).submit("run", SAMPLES)
    assert waiting.wait(30)
    with StubService(by_length, port=port):
        up.set()
        assert [result.score for result in future.result(timeout=30)] == [0.2, 0.1, 0.3]
    assert "did not answer" in recorded.lines[0]


def test_it_gives_up_after_the_time_it_was_given(marker):
    with (
        StubService(by_length, faults=[AWAY] * 3) as service,
        pytest.raises(ServiceTimeoutError, match=r"service_wait_s \(0 s\)"),
    ):
        marker(service.url, Recorded(), wait_s=0.0).submit("run", SAMPLES).result(timeout=30)


def test_the_last_pause_ends_where_patience_does(marker):
    recorded = Recorded(0.0, 7.0, 10.0)
    limited = (429, {"error": "busy", "detail": "slow down"})
    with (
        StubService(by_length, faults=[limited] * 3, headers={"retry-after": "4"}) as service,
        pytest.raises(ServiceTimeoutError),
    ):
        marker(service.url, recorded, wait_s=10.0).submit("run", SAMPLES).result(timeout=30)
    assert recorded.pauses == [4.0, 3.0]


def test_a_refused_request_is_not_sent_again(marker):
    recorded = Recorded()
    with StubService(
        by_length, faults=[(413, {"error": "payload_too_large", "detail": "300 samples"})]
    ) as service:
        with pytest.raises(RequestRejectedError, match="payload_too_large: 300 samples"):
            marker(service.url, recorded).submit("run", SAMPLES).result(timeout=30)
        assert service.requests == []
    assert recorded.pauses == []


def test_a_disagreement_about_the_policy_is_named_with_both_values(marker):
    with StubService(by_length) as service:
        stats = marker(service.url, Recorded()).stats()
    check_policy(Rlaif(), stats)
    with pytest.raises(
        ConfigError, match=r"rlaif\.prompt_context_chars is 500 here and 200 at the service"
    ):
        check_policy(Rlaif(prompt_context_chars=500), stats)
    assert set(SERVICE_OWNED) <= set(stats.policy)


def test_counters_of_a_run_that_the_service_does_not_know_are_zero(marker):
    with StubService(by_length) as service:
        asked = marker(service.url, Recorded())
        asked.submit("run", SAMPLES).result(timeout=30)
        assert asked.counters("run").samples == 3
        assert asked.counters("other").samples == 0


def test_a_tasks_tests_go_with_its_samples(marker):
    task = Task(0, "a task", "python", (1,), ("assert f()",), "import re")
    with StubService(by_length) as service:
        marker(service.url, Recorded()).submit(
            "run", [Sample(task, (2,), "x", truncated=False), SAMPLES[0]]
        ).result(30)
        [request] = service.requests
    assert [(one.tests, one.test_setup) for one in request.samples] == [
        (["assert f()"], "import re"),
        ([], ""),
    ]
