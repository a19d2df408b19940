"""Where the service may listen, and keys that are made and revoked while it runs, with real
processes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from markbook.cli import main
from markbook.client import RequestRejectedError, RetryPolicy, ScoringClient
from markbook.contract import Sample, ScoreRequest
from tests.processes import ROOT, ServiceProcess, clean_environment

ADD = Sample(
    prompt="Write add(a, b).", language="python", code="def add(a, b):\n    return a + b\n"
)
WITHIN_S = 60.0


def keys(database_url: str, *arguments: str) -> str:
    """What `keys` prints."""
    command = [sys.executable, "-m", "markbook.scoring", "keys", *arguments]
    environment = clean_environment(MARKBOOK_DATABASE_URL=database_url)
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def until_refused(ask: Callable[[], object]) -> str:
    deadline = time.monotonic() + WITHIN_S
    while (refused := refusal(ask)) is None:
        assert time.monotonic() < deadline, "it was let in all the time"
        time.sleep(0.1)
    assert (refused.status, refused.code) == (401, "unauthorized")
    return refused.detail


def refusal(ask: Callable[[], object]) -> RequestRejectedError | None:
    try:
        ask()
    except RequestRejectedError as error:
        return error
    return None


def test_without_keys_it_does_not_listen_where_others_reach_it(monkeypatch, capsys, sqlite_url):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", sqlite_url)
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "0.0.0.0 can be reached by others, and there are no API keys" in said
    for way in ("keys add NAME", "127.0.0.1", "service.allow_unauthenticated: true"):
        assert way in said


def test_keys_made_and_revoked_are_in_force_in_a_running_service(database_url, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("service: {allow_unauthenticated: true}\n")
    with ServiceProcess(database_url, "--host", "0.0.0.0", "--config", str(config)) as service:
        assert any(
            "no API keys configured: anyone who can reach 0.0.0.0 can spend money" in line
            for line in service.log
        )
        with service.client() as client:
            client.score_request(ScoreRequest(samples=[ADD]))
            secret = keys(database_url, "add", "ann")
            assert "keys add NAME" in until_refused(client.stats)
            assert client.ready()
        with ScoringClient(service.url, api_key=secret, retry_policy=RetryPolicy(0.0)) as keyed:
            assert keyed.score_request(ScoreRequest(samples=[ADD])).results[0].source == "cache"
            assert list(keyed.stats().budgets) == ["total", "key ann", "run default"]
            keys(database_url, "revoke", "ann")
            assert "ann was revoked" in until_refused(keyed.stats)
    with ServiceProcess(
        database_url, "--host", "0.0.0.0"
    ) as service:  # a book that had a key needs no setting
        assert service.url.startswith("http://0.0.0.0:")
