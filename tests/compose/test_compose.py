"""`docker compose up` with nothing set: what it is, what it may do, how it stops, and how keys
are turned on.
"""

from __future__ import annotations

import json
import time

import pytest

from markbook.client import RequestRejectedError
from markbook.contract import Sample, ScoreRequest, Source
from tests.compose.stack import Stack, inspect

pytestmark = pytest.mark.compose

ADD = ScoreRequest(
    run="first",
    samples=[
        Sample(
            prompt="Write add(a, b).", language="python", code="def add(a, b):\n    return a + b\n"
        )
    ],
)


def test_the_stand_in_marks_and_says_what_it_is(plain: Stack):
    with plain.client() as client:
        [result] = client.score_request(ADD).results
        stats = client.stats()
    assert result.source in (Source.TEACHER, Source.CACHE)
    assert stats.teacher.is_stub
    assert stats.teacher.description in plain("logs", "--no-log-prefix", "scoring")


def test_only_this_machine_reaches_the_service_and_only_the_service_reaches_the_database(
    plain: Stack,
):
    def published(service: str) -> dict[str, list[dict[str, str]] | None]:
        [container] = plain.containers(service)
        ports: dict[str, list[dict[str, str]] | None] = json.loads(
            inspect(container, "{{json .NetworkSettings.Ports}}")
        )
        return ports

    assert published("scoring") == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(plain.port)}]
    }
    assert not any(published("postgres").values())


def test_the_service_can_change_nothing_in_its_image(plain: Stack):
    assert plain("exec", "-T", "scoring", "id", "-u") == "10001"
    assert "Read-only file system" in plain(
        "exec", "-T", "scoring", "touch", "/app/shared/x", fails=True
    )
    said = plain("exec", "-T", "scoring", "grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/1/status")
    assert [int(line.split()[1], 16) for line in said.splitlines()] == [0, 1]


def test_the_image_is_without_torch(plain: Stack):
    assert "No module named 'torch'" in plain(
        "exec", "-T", "scoring", "python", "-c", "import torch", fails=True
    )
    for image in ("markbook-scoring", "python:3.11-slim"):
        print(f"image {image}: {int(inspect(image, '{{.Size}}')) / 1e6:.0f} MB")


def test_a_stop_is_clean_and_what_was_counted_stays(plain: Stack):
    with plain.client() as client:
        client.score_request(ADD)
        before = client.stats()
        began = time.monotonic()
        plain("stop", "--timeout=10")  # seconds until it is killed, and its status 137
        print(f"stopped in {time.monotonic() - began:.1f} s")
        for service in ("scoring", "postgres"):
            [container] = plain.containers(service)
            assert inspect(container, "{{.State.ExitCode}}") == "0"
        plain("down")
        began = time.monotonic()
        plain.up()
        print(f"ready in {time.monotonic() - began:.1f} s")
        after = client.stats()
        assert (after.totals, after.runs, after.cache.entries) == (
            before.totals,
            before.runs,
            before.cache.entries,
        )
        assert [result.source for result in client.score_request(ADD).results] == [Source.CACHE]


def test_keys_can_be_asked_for_before_anything_listens(docker: None):
    with Stack(MARKBOOK_SERVICE__ALLOW_UNAUTHENTICATED="false") as stack:
        stack.up("postgres")
        assert "there are no API keys" in stack("run", "--rm", "scoring", fails=True)
        said = stack("run", "--rm", "scoring", "keys", "add", "me")
        [key] = [line for line in said.splitlines() if line.startswith("mb_")]
        stack.up()
        with stack.client() as client, pytest.raises(RequestRejectedError) as caught:
            client.score_request(ADD)
        assert caught.value.status == 401
        with stack.client(api_key=key) as client:
            assert len(client.score_request(ADD).results) == 1
