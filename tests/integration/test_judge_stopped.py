"""`markbook judge`, stopped by SIGTERM as a process: calls in progress are stored, and nothing
stays reserved.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy

from tests.emulator import judges, tokens
from tests.emulator.server import Emulator, Settings
from tests.processes import clean_environment

WITHIN_S = 120.0


class Judge:
    """Marks once it is released."""

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()

    def __call__(self, *codes: object) -> object:
        self.asked.set()
        assert self.released.wait(WITHIN_S)
        return judges.steady(*codes)  # type: ignore[arg-type]


def count(database_url: str, table: str) -> int:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_reservation_and_no_claim(database_url, tmp_path, how):
    judge = Judge()
    lines = [
        {"prompt": f"Task {task}", "language": "text", "code": f"code {at}", "passed": at == 0}
        for task in range(3)
        for at in range(2)
    ]
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with Emulator(Settings(judge=judge, count=tokens.estimate)) as emulator:
        teacher = {"name": "anthropic", "base_url": emulator.url, "max_concurrency": 1}
        store = {
            "database_url": database_url,
            "claim_lease_s": 3600.0,
        }  # what is left behind would stay for an hour
        config = {"teacher": teacher, "store": store, "service": {"shutdown_grace_s": WITHIN_S}}
        (tmp_path / "a.yaml").write_text(json.dumps(config))
        command = [
            sys.executable,
            "-m",
            "markbook.scoring",
            "judge",
            "file.jsonl",
            "--teacher",
            "a.yaml",
            "--yes",
        ]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=clean_environment(ANTHROPIC_API_KEY="test-key"),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert judge.asked.wait(WITHIN_S)
        assert count(database_url, "reservations") == 1
        process.send_signal(how)
        process.send_signal(how) if how == signal.SIGTERM else None  # an impatient one
        judge.released.set()
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, err
    assert (
        err.splitlines()[-1]
        == "stopped: the marks so far are stored, and the same command continues"
    )
    assert [count(database_url, table) for table in ("reservations", "claims", "marks")] == [
        0,
        0,
        2,
    ]
    assert len(emulator.log) == 1
