"""Sample tables in the real trackers, offline: read back from what Weights & Biases and Trackio
have written.

Skipped where they are not installed (pip install 'markbook[trackers]'): requirements.lock does not
have them. Run with wandb 0.31.0 and trackio 0.43.0.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT, clean_environment

pytestmark = pytest.mark.long

WRITE = """
import sys
from pathlib import Path
from markbook.config.settings import Config, Training
from markbook.trainer.monitoring.trackers import Trackers, check_trackers
from tests.unit.trainer.monitoring.test_trackers import LINE, UNSCORED

name = sys.argv[1]
check_trackers([name])
with Trackers(Config(training=Training(trackers=[name])), "a-run", "f00d", Path("."), 0) as tracked:
    tracked.log("train", {"reward_mean": 0.5}, 3)
    tracked.log("eval", {"mark": 0.25}, 3)
    tracked.log_samples("eval", [LINE, UNSCORED], 3)
"""


def write(name: str, folder, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE, name],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_weights_and_biases(tmp_path):
    pytest.importorskip("wandb")
    write("wandb", tmp_path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path), HOME=str(tmp_path))
    [file] = tmp_path.glob("wandb/offline-run-*/files/media/table/eval/samples_3_*.table.json")
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["sample"], row["mark"], row["unscored"]) for row in rows] == [
        ("code", 0.5, ""),
        ("code", None, "deadline"),
    ]


READ = """
import json
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps(SQLiteStorage.get_logs("markbook", "a-run")))
"""


def test_trackio(tmp_path):
    pytest.importorskip("trackio")
    environment = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)}
    write("trackio", tmp_path, **environment)
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=True,
    )
    [table] = [
        line["eval/samples"]
        for line in json.loads(done.stdout.splitlines()[-1])
        if "eval/samples" in line
    ]
    assert table["_type"] == "trackio.table"
    scored, unscored = table["_value"]
    assert (scored["sample"], scored["mark"], scored["unscored"]) == ("code", 0.5, "")
    assert (unscored["mark"], unscored["unscored"]) == (None, "deadline")
