"""Trainer, scoring service and generation server as three processes: a whole run, and one
through a restart.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from tests.integration.test_trainer_end_to_end import STEPS, TrainerProcess
from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.tiny import save_tiny_student

pytestmark = pytest.mark.long


class GenerationProcess:
    """`python -m tests.generation_server` on the tiny student."""

    def __init__(self, folder: Path, port: str = "0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.generation_server", str(folder), port],
            cwd=ROOT,
            env=clean_environment(OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found
        self.url = found[0]

    def __enter__(self) -> Self:
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def test_a_run_whose_samples_another_process_draws(tmp_path):
    save_tiny_student(tmp_path / "student")
    database = f"sqlite:///{tmp_path / 'book.db'}"
    with ServiceProcess(database) as service, GenerationProcess(tmp_path / "student") as generation:
        trainer = TrainerProcess(tmp_path, service.url, generation_url=generation.url)
        assert trainer.finish() == 0, "\n".join(trainer.lines)
    steps = [line for line in trainer.read("metrics.jsonl") if "skipped" in line]
    assert len(steps) == STEPS
    assert {line["policy_lag"] for line in steps if not line["skipped"]} == {0}
    assert all(line["log_prob_gap"] < 1e-4 for line in steps if not line["skipped"])
    assert trainer.summary()["ended"] == "finished"


def test_a_server_that_was_killed_and_started_anew_gets_the_adapter_again(tmp_path):
    save_tiny_student(tmp_path / "student")
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}") as service:
        with GenerationProcess(tmp_path / "student") as generation:
            trainer = TrainerProcess(
                tmp_path,
                service.url,
                steps=10,
                generation_url=generation.url,
                generation_wait_s=120.0,
            )
            trainer.read_until("step 1/")
            generation.kill()
            trainer.read_until("the generation server at")
        with GenerationProcess(tmp_path / "student", generation.url.rpartition(":")[2]):
            assert trainer.finish() == 0, "\n".join(trainer.lines)
    assert "the generation server answers again" in trainer.lines
    assert (
        len([line for line in trainer.read("samples.jsonl") if line["phase"] == "train"])
        == 10 * 2 * 4
    )
