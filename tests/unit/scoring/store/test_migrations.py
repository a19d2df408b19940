"""The schema on both databases: an old book comes along with its marks, and processes that start
together agree.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.store import OWNER, Store
from markbook.scoring.store.engine import migrate, open_engine, transaction

ROOT = Path(__file__).parents[4]
MINE, OTHERS, EMPTY = "11" * 8, "22" * 8, "33" * 8
CRITERIA = {"correctness": 0.1 + 0.2, "code_quality": 0.25, "efficiency": 1.0, "documentation": 0.0}
STYLE = {"style": 0.5, "speed": 0.75}
MIGRATE = """
import sys
from markbook.scoring.store.engine import migrate, open_engine
engine = open_engine(sys.argv[1])
print("ready", flush=True)
input()
migrate(engine)
"""


def old_mark(
    profile: str, code: str, criteria: dict[str, float], reasons: list[str] | None = None
) -> dict[str, object]:
    name = fingerprint(profile, "task", code, "python")
    return {
        "key": bytes.fromhex(profile) + name.prompt_hash + name.code_hash + b"python",
        "digest": name.digest,
        "criteria": json.dumps(criteria, separators=(",", ":")),
        "reasons": json.dumps(reasons) if reasons else None,
        "created_ms": 1_700_000_000_999,
        "group_id": b"12345678",
        "group_position": 2,
        "group_size": 3,
    }


def write_old_book(database_url: str, marks: list[dict[str, object]]) -> None:
    """A book as version 0001 left it."""
    engine = open_engine(database_url)
    migrate(engine, "0001")
    with transaction(engine) as connection:
        for profile in (MINE, OTHERS, EMPTY):
            row = {
                "profile": bytes.fromhex(profile),
                "identity": '{"teacher": "x"}',
                "created_ms": 7,
            }
            connection.execute(
                text("INSERT INTO profiles VALUES (:profile, :identity, :created_ms)"), row
            )
        columns = ", ".join(marks[0])
        values = ", ".join(f":{name}" for name in marks[0])
        connection.execute(text(f"INSERT INTO marks ({columns}) VALUES ({values})"), marks)
    engine.dispose()


async def test_an_old_book_keeps_its_marks(empty_database_url):
    turned = dict(reversed(CRITERIA.items()))
    filler = [old_mark(MINE, f"code {number}", CRITERIA) for number in range(2500)]
    odd = [old_mark(MINE, "turned", turned, ["because"]), old_mark(OTHERS, "styled", STYLE)]
    write_old_book(empty_database_url, filler + odd)
    store = Store(empty_database_url, 1_000)
    store.open(OTHERS, {"teacher": "x"}, 9, ["speed", "style"])
    store.open(MINE, {"teacher": "x"}, 9)
    mine = [fingerprint(MINE, "task", code, "python") for code in ("turned", "code 0", "code 2499")]
    [others] = [fingerprint(OTHERS, "task", "styled", "python")]
    found = await store.marks.get([*mine, others], 9)
    assert (await store.marks.size(OWNER))[0] == 2502
    await store.close()
    assert [found[name.digest].criteria for name in mine] == [CRITERIA] * 3
    assert [found[name.digest].reasons for name in mine] == [("because",), (), ()]
    assert found[others.digest].criteria == STYLE
    assert found[others.digest].last_used_s == 1_700_000_000
    engine = open_engine(empty_database_url)
    with transaction(engine) as connection:
        rest = connection.execute(
            text("SELECT created_ms, group_id, group_position, group_size FROM marks")
        ).all()
    engine.dispose()
    assert {(row[0], bytes(row[1]), row[2], row[3]) for row in rest} == {
        (1_700_000_000_999, b"12345678", 2, 3)
    }


@pytest.mark.long  # test_store.py has it with threads
def test_four_processes_migrate_an_empty_database_at_once(empty_database_url):
    command = [sys.executable, "-c", MIGRATE, empty_database_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 4


def test_a_mark_learns_which_run_has_paid_for_it(empty_database_url):
    engine = open_engine(empty_database_url)
    migrate(engine, "0005")
    with transaction(engine) as connection:
        for code, group in (("paid", b"group-01"), ("its call's line is gone", b"group-02")):
            mark = old_mark(MINE, code, CRITERIA) | {
                "criteria": "[]",
                "used_s": 1,
                "group_id": group,
            }
            columns, values = ", ".join(mark), ", ".join(f":{name}" for name in mark)
            connection.execute(text(f"INSERT INTO marks ({columns}) VALUES ({values})"), mark)
        for run, failed in (("a", True), ("b", False)):
            call = CALL | {"id": run, "run": run, "failed": failed}
            columns, values = ", ".join(call), ", ".join(f":{name}" for name in call)
            connection.execute(
                text(f"INSERT INTO ledger_calls ({columns}) VALUES ({values})"), call
            )
    migrate(engine)
    with transaction(engine) as connection:
        runs = dict(connection.execute(text("SELECT group_id, run FROM marks")).all())
    engine.dispose()
    assert {bytes(group): run for group, run in runs.items()} == {b"group-01": "b", b"group-02": ""}


def test_a_call_in_progress_is_written_down_after_its_columns_were_renamed(empty_database_url):
    """Of a process that died before the upgrade."""
    engine = open_engine(empty_database_url)
    migrate(engine, "0006")
    line = {
        **CALL,
        "group_id": CALL["group_id"].hex(),
        "run": "demo",
        "took_ms": None,
        "failed": True,
        "cost_nusd": 7,
    }
    row = {"id": "r", "owner": "dead", "lease_until_ms": 0, "line": json.dumps(line)}
    with transaction(engine) as connection:
        names = ", ".join(f":{name}" for name in row)
        connection.execute(
            text(f"INSERT INTO reservations ({', '.join(row)}) VALUES ({names})"), row
        )
        connection.execute(
            text("INSERT INTO accounts (scope, nusd, tokens) VALUES ('total', 7, 2)")
        )
    engine.dispose()

    async def restarted():
        store = Store(empty_database_url, 1_000)
        store.open(MINE, {"teacher": "x"}, 9)
        await store.renew(1_000_000)
        spent, sums = await store.money.spent(OWNER), await store.ledger.sums(OWNER)
        await store.close()
        return spent, sums.tallies[0, "demo"].counts

    spent, counts = asyncio.run(restarted())
    assert spent == {"total": (7, 2)}
    assert (counts["unknown_nusd"] or counts["cost_nusd"], counts["failed_calls"]) == (7, 1)


CALL = {
    "at_ms": 1,
    "model": "m",
    "outcome": "ok",
    "group_id": b"group-01",
    "samples": 1,
    "input_tokens": 1,
    "output_tokens": 1,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "billed_input_equivalent": 1.0,
    "usage_unknown": False,
}
"""A line of ledger_calls."""
