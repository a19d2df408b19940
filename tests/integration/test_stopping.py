"""SIGTERM in the middle of a call, to real processes: it ends in good order, and what cannot end
is given back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from markbook.client import ServiceUnavailableError
from markbook.contract import Sample, ScoreRequest, Source
from tests.emulator import faults, judges, tokens
from tests.emulator.server import Emulator, Settings
from tests.processes import ServiceProcess

WITHIN_S = 120.0
CODE = "def add{0}(a, b):\n    return a + b + {0}\n"


def request(name: str, run: str = "demo") -> ScoreRequest:
    code = f"def {name}(a, b):\n    return a + b\n"
    return ScoreRequest(
        run=run, samples=[Sample(prompt="Write add(a, b).", language="python", code=code)]
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


class Judge:
    """Marks when it is let."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()

    def __call__(self, *asked: object) -> object:
        self.asked.set()
        assert self.let.wait(WITHIN_S)
        return judges.steady(*asked)  # type: ignore[arg-type]


def start(
    database_url: str,
    emulator: Emulator,
    folder: Path,
    service: dict[str, object],
    slots: int = 16,
    **sections: object,
) -> ServiceProcess:
    teacher = {"name": "anthropic", "base_url": emulator.url, "max_concurrency": slots}
    settings = {"teacher": teacher, "service": service, **sections}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    return ServiceProcess(database_url, "--config", str(config), ANTHROPIC_API_KEY="test-key")


def test_a_call_in_progress_ends_and_its_caller_gets_the_mark(database_url, tmp_path, threads):
    judge = Judge()
    with Emulator(Settings(judge=judge, count=tokens.estimate)) as emulator:
        limits = {"shutdown_grace_s": WITHIN_S, "max_concurrent_requests": 1}
        service = start(database_url, emulator, tmp_path, limits)
        with service.client() as client:
            first = threads.submit(client.score_request, request("add"))
            assert judge.asked.wait(WITHIN_S)
            waits = threads.submit(client.score_request, request("plus", run="other"))
            assert client.ready()  # by now the other is in line, behind the one in progress
            stopped = threads.submit(service.stop)
            with pytest.raises(ServiceUnavailableError, match=r"takes no new work|did not answer"):
                waits.result(WITHIN_S)
            assert not first.done()
            judge.let.set()
            [result] = first.result(WITHIN_S).results
        assert stopped.result(WITHIN_S) == 0
        assert result.source is Source.TEACHER
        service.start()
        with service, service.client() as client:
            assert client.score_request(request("add")).results[0].source is Source.CACHE
            stats = client.stats()
    assert stats.totals.teacher_calls == 1
    assert stats.totals.usage_unknown_calls == 0
    assert len(emulator.log) == 1


def test_after_a_stop_no_call_begins_and_nothing_is_paid_for_twice(database_url, tmp_path, threads):
    judge = Judge()
    with Emulator(Settings(judge=judge, count=tokens.estimate)) as emulator:
        service = start(database_url, emulator, tmp_path, {"shutdown_grace_s": WITHIN_S}, slots=1)
        several = ScoreRequest(
            run="demo",
            request_id="stop-0001",
            samples=[
                Sample(prompt=f"Write add{n}(a, b).", language="python", code=CODE.format(n))
                for n in range(4)
            ],
        )
        with service.client() as client:
            waits = threads.submit(client.score_request, several)
            assert judge.asked.wait(WITHIN_S)  # one is asked about, three wait for the slot
            stopped = threads.submit(service.stop)
            until(
                lambda: any("no teacher call is started any more" in line for line in service.log)
            )
            judge.let.set()
            with pytest.raises(ServiceUnavailableError, match="takes no new work"):
                waits.result(WITHIN_S)
        assert stopped.result(WITHIN_S) == 0
        assert len(emulator.log) == 1
        service.start()
        with service, service.client() as client:
            answer = client.score_request(several)
            stats = client.stats()
        assert Counter(result.source for result in answer.results) == {
            Source.CACHE: 1,
            Source.TEACHER: 3,
        }
        assert len(emulator.log) == 4
    assert (stats.totals.teacher_calls, stats.totals.usage_unknown_calls) == (4, 0)


@pytest.mark.long
def test_what_cannot_end_is_given_back_and_another_replica_takes_it_over_at_once(
    postgres_url, tmp_path, threads
):
    """The lease is an hour: only a claim that was given back lets the second replica ask."""
    settings = Settings(faults=faults.script("slow"), slow_s=3600.0, count=tokens.estimate)
    with Emulator(settings) as emulator:
        with_retries = {"claim_lease_s": 3600.0}
        one = start(postgres_url, emulator, tmp_path, {"shutdown_grace_s": 0.1}, store=with_retries)
        with one.client() as client:
            first = threads.submit(client.score_request, request("add", run="one"))
            until(lambda: len(emulator.log) == 1)
            with (
                start(postgres_url, emulator, tmp_path, {}, store=with_retries) as two,
                two.client() as other,
            ):
                second = threads.submit(other.score_request, request("add", run="two"))
                assert other.ready()
                assert one.stop() == 0
                with pytest.raises(
                    ServiceUnavailableError,
                    match="shutting_down: the service stopped before the marks came",
                ):
                    first.result(WITHIN_S)
                [result] = second.result(WITHIN_S).results
                stats = other.stats()
    assert result.source is Source.TEACHER
    assert len(emulator.log) == 2
    assert (stats.runs["one"].usage_unknown_calls, stats.runs["two"].usage_unknown_calls) == (1, 0)
    assert stats.totals.teacher_calls == 2
