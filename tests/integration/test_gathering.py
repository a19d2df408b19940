"""Gathering over real HTTP: concurrent requests of one sample, a service process, calls counted
by the emulator.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from markbook.client import ScoringClient
from markbook.contract import ErrorCode, Sample, Scored, ScoreRequest, ScoreResponse, Source
from tests.emulator import faults, judges
from tests.emulator.server import Emulator
from tests.processes import ServiceProcess

TASK = "Write f() that returns a number."


def code(number: int) -> str:
    return f"def f():\n    return {number}\n"


def start(database_url: str, emulator: Emulator, folder: Path, **teacher: object) -> ServiceProcess:
    config = folder / "config.yaml"
    on_emulator = {"name": "anthropic", "base_url": emulator.url, **teacher}
    config.write_text(yaml.safe_dump({"teacher": on_emulator}))
    return ServiceProcess(database_url, "--config", str(config), ANTHROPIC_API_KEY="test-key")


def score_each(client: ScoringClient, count: int) -> list[ScoreResponse]:
    """One request per sample, all at the same time."""
    requests = [
        ScoreRequest(
            run="demo", samples=[Sample(prompt=TASK, language="python", code=code(number))]
        )
        for number in range(count)
    ]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(client.score_request, requests))


# The windows are so long that a slow machine fills them; a full group does not wait for the end of
# its own.
@pytest.mark.parametrize(
    ("samples", "gather_ms", "sizes"),
    [
        (8, 60_000.0, [8]),
        pytest.param(9, 3_000.0, [1, 8], marks=pytest.mark.long),
        (3, 0.0, [1, 1, 1]),
    ],
)
def test_calls_of_concurrent_requests_of_one_sample(
    database_url, emulator, tmp_path, samples, gather_ms, sizes
):
    with (
        start(database_url, emulator, tmp_path, gather_ms=gather_ms) as service,
        service.client() as client,
    ):
        responses = score_each(client, samples)
        totals = client.stats().totals
    assert sorted(len(entry.codes) for entry in emulator.settle()) == sizes
    assert {text for entry in emulator.log for text in entry.codes} == {
        code(number) for number in range(samples)
    }
    for number, response in enumerate(responses):
        [result] = response.results
        assert isinstance(result, Scored)
        assert result.source is Source.TEACHER
        own = zip(
            ("correctness", "code_quality", "efficiency", "documentation"),
            true_marks(number),
            strict=True,
        )
        assert result.criteria == {name: mark / 100 for name, mark in own}
    assert (
        sum(response.usage.teacher_calls for response in responses)
        == totals.teacher_calls
        == len(sizes)
    )
    assert (totals.samples, totals.by_source[Source.TEACHER]) == (samples, samples)
    paid = sum(response.usage.cost_usd or 0.0 for response in responses)
    assert paid == pytest.approx(sum(entry.dollars() for entry in emulator.log))
    assert totals.cost_usd == pytest.approx(paid)


def true_marks(number: int) -> judges.Marks:
    return judges.marks_for(code(number))


def test_a_server_that_fails_leaves_every_member_unscored_with_a_reason(
    database_url, emulator, tmp_path
):
    emulator.settings.faults = faults.script("bad_key")
    with (
        start(database_url, emulator, tmp_path, gather_ms=60_000.0) as service,
        service.client() as client,
    ):
        responses = score_each(client, 8)
        totals = client.stats().totals
    errors = [response.results[0].error for response in responses]
    assert [error.code for error in errors] == [ErrorCode.TEACHER_REJECTED] * 8
    assert (totals.unscored, len(emulator.log)) == (8, 1)
