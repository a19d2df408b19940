"""TRL's own GRPOTrainer on our marks: the example as it stands, to its end; and what a missing
mark does in it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from markbook.config.loading import parse_config
from markbook.contract import ErrorCode
from markbook.scoring.teachers.protocol import BudgetLimiter, Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import RecordingTeacher, true_score
from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.served import served
from tests.tiny import save_tiny_student

pytestmark = pytest.mark.long
STEPS = 3
GROUP = 4  # the example's num_generations
BATCH = 8  # and its per_device_train_batch_size


class PatchyTeacher(RecordingTeacher):
    """Refuses every third sample."""

    async def mark(
        self, group: Group, purse: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        outcomes = await super().mark(group, purse)
        refused = ScoringFailure(ErrorCode.TEACHER_REFUSED, "not this one")
        return tuple(
            refused if place % 3 == 0 else outcome for place, outcome in enumerate(outcomes)
        )


def example(folder: Path, url: str) -> Path:
    """Run the example on the tiny student; returns its output folder."""
    save_tiny_student(folder / "student")
    tasks = [{"prompt": f"Write a function that adds {i}.", "language": "python"} for i in range(6)]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    done = subprocess.run(
        [
            *(sys.executable, "docs/examples/trl_grpo.py", "--cpu"),
            *(
                "--model",
                str(folder / "student"),
                "--tasks",
                str(folder / "tasks.jsonl"),
                "--url",
                url,
            ),
            *("--output", str(folder / "out"), "--steps", str(STEPS), "--tokens", "8"),
        ],
        cwd=ROOT,
        env=clean_environment(HF_HOME=str(folder / "hub"), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def logged(output: Path) -> list[dict[str, Any]]:
    """Every completion that TRL logged, in order."""
    from pyarrow import parquet

    files = sorted((output / "completions").glob("*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def test_the_example_runs_to_its_end_on_real_marks(tmp_path):
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}") as service:
        output = example(tmp_path, service.url)
        with service.client() as client:
            counted = client.stats("trl-example").runs["trl-example"]
    rows = logged(output)
    assert len(rows) == counted.samples == STEPS * BATCH
    assert counted.unscored == 0
    assert all(0.0 <= row["markbook"] <= 1.0 for row in rows)
    assert (output / "adapter_model.safetensors").exists()


def test_a_missing_mark_leaves_its_row_out_of_baseline_and_advantage(tmp_path):
    """By hand: the mean and the deviation of the others in the group."""
    config = parse_config(
        {
            "store": {"database_url": f"sqlite:///{tmp_path / 'book.db'}"},
            "rlaif": {"use_tiered_scoring": False},
        }
    )
    with served(config, PatchyTeacher()) as url:
        rows = logged(example(tmp_path, url))
    assert len(rows) == STEPS * BATCH
    missing = 0
    for start in range(0, len(rows), GROUP):
        group = rows[start : start + GROUP]
        marks = [row["markbook"] for row in group]
        known = [mark for mark in marks if mark is not None]
        missing += GROUP - len(known)
        mean, deviation = statistics.fmean(known), statistics.stdev(known)
        for row, mark in zip(group, marks, strict=True):
            expected = 0.0 if mark is None else (mark - mean) / (deviation + 1e-4)
            assert row["advantage"] == pytest.approx(expected, abs=1e-4)
            assert mark is None or mark == pytest.approx(
                true_score(row["completion"][0]["content"]), abs=1e-6
            )
    assert STEPS * BATCH // 4 <= missing <= STEPS * BATCH // 2
