"""The service as a process: start, restart, kill, faults at start. Real HTTP, both databases."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

import pytest

from markbook.client import RequestRejectedError, ServiceUnavailableError
from markbook.contract import Sample, ScoreRequest, Source
from tests.processes import ROOT, ServiceProcess, clean_environment


def request(*names: str, run: str = "demo") -> ScoreRequest:
    samples = [
        Sample(
            prompt="Write add(a, b).",
            language="python",
            code=f"def {name}(a, b):\n    return a + b\n",
        )
        for name in names
    ]
    return ScoreRequest(run=run, samples=samples)


def fails_at_start(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "markbook.scoring", *arguments],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_loses_no_mark_and_no_count(database_url, how):
    with ServiceProcess(database_url) as service:
        with service.client() as client:
            first = client.score_request(request("add", "plus", "add"))
            before = client.stats()
        status = service.stop(how)
        assert status == (0 if how == signal.SIGTERM else -signal.SIGKILL)
        service.start()
        with service.client() as client:
            after = client.stats()
            second = client.score_request(request("add", "plus"))
    assert after.model_dump() == before.model_dump()
    assert after.runs["demo"].samples == 3
    assert [result.source for result in second.results] == [Source.CACHE, Source.CACHE]
    assert [result.score for result in second.results] == [
        result.score for result in first.results[:2]
    ]


def test_the_stand_in_says_what_it_is(sqlite_url):
    with ServiceProcess(sqlite_url) as service, service.client() as client:
        teacher = client.stats().teacher
        log = "".join(service.log)
    assert (teacher.name, teacher.is_stub) == ("static", True)
    assert "no judge" in teacher.description
    assert teacher.description in log


def test_requests_from_many_threads_at_once_are_each_counted(sqlite_url):
    with ServiceProcess(sqlite_url) as service, service.client() as client:

        def ask(number: int) -> None:
            client.score_request(request("add", f"add_{number}", run=f"run-{number % 2}"))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = client.stats()
    assert stats.totals.samples == 32
    assert stats.totals.by_source[Source.TEACHER] == stats.cache.entries == 17
    assert stats.runs["run-0"].samples == stats.runs["run-1"].samples == 16


def test_the_client_tells_what_may_be_sent_again(sqlite_url):
    with ServiceProcess(sqlite_url) as service, service.client() as client:
        assert client.ready()
        with pytest.raises(RequestRejectedError, match="payload_too_large") as caught:
            client.score_request(request("f" * 100_001))
        assert caught.value.status == 413
        service.stop()
        assert not client.ready()
        with pytest.raises(ServiceUnavailableError, match="did not answer"):
            client.score_request(request("add"))


def test_anthropic_without_a_key_says_what_to_set(sqlite_url):
    said = fails_at_start(MARKBOOK_TEACHER="anthropic", MARKBOOK_DATABASE_URL=sqlite_url)
    assert "ANTHROPIC_API_KEY" in said
    assert len(said.splitlines()) == 1


def test_a_port_that_is_taken_says_what_to_do(sqlite_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = fails_at_start(
            "--port", str(taken.getsockname()[1]), MARKBOOK_DATABASE_URL=sqlite_url
        )
    assert "choose another with --port" in said


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--config", "missing.yaml"], {}, "cannot read the configuration missing.yaml"),
        ([], {"MARKBOOK_DATABASE_URL": "postgresql://127.0.0.1:1/book"}, "the database postgresql"),
        ([], {"MARKBOOK_DATABASE_URL": "mysql://x/y"}, "store.database_url"),
        ([], {"MARKBOOK_TEACHER": "gpt"}, "teacher.name is 'gpt'"),
    ],
)
def test_a_fault_at_start_is_one_line(arguments, environment, message):
    assert message in fails_at_start(*arguments, **environment)
