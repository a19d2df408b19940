"""One book under a running service: its marks over HTTP, exported beside it, carried to the
other kind of database.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from markbook.client import RequestRejectedError
from markbook.contract import Sample, Scored, ScoreRequest, Source
from tests.processes import ROOT, ServiceProcess, clean_environment

TASK = "Write add(a, b)."
SAMPLES = [
    Sample(prompt=TASK, language="python", code=f"def {name}(a, b):\n    return a + b\n")
    for name in ("add", "plus")
]


def command(
    database_url: str, *arguments: str, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "markbook.scoring", *arguments],
        cwd=ROOT,
        env=clean_environment(MARKBOOK_DATABASE_URL=database_url),
        input=given,
        capture_output=True,
        check=True,
    )


def score(client) -> list[Scored]:
    results = client.score_request(ScoreRequest(run="demo", samples=SAMPLES)).results
    assert all(isinstance(result, Scored) for result in results)
    return results


@pytest.mark.long
def test_marks_that_were_carried_to_another_book_are_hits_there(sqlite_url, postgres_url):
    with ServiceProcess(sqlite_url) as here, here.client() as client:
        marks = score(client)
        [kept] = client.marks(marks[0].key).marks
        assert (kept.task, kept.code, kept.score) == (TASK, SAMPLES[0].code, marks[0].score)
        assert kept.criteria == marks[0].criteria
        with pytest.raises(RequestRejectedError, match="mark_not_found"):
            client.marks(marks[0].key, profile="0" * 16)
        exported = command(sqlite_url, "export").stdout
    assert sorted(json.loads(line)["key"] for line in exported.splitlines()[1:]) == sorted(
        mark.key for mark in marks
    )
    command(postgres_url, "import", "-", given=exported)
    with ServiceProcess(postgres_url) as there, there.client() as client:
        again = score(client)
        assert {mark.source for mark in again} == {Source.CACHE}
        assert [mark.score for mark in again] == [mark.score for mark in marks]
        assert client.marks(marks[0].key).marks == [kept]
