"""The trainer and the service as two real processes, over HTTP: a whole run, a restart in the
middle, Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import peft
import pytest
import torch
import yaml

from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.tiny import save_tiny_student, tiny_model

STEPS = 2
GROUP = 4


class TrainerProcess:
    """`markbook train` on the tiny student, or on another that `more` names; its lines as they
    come.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        steps: int = STEPS,
        rlaif: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        if "model" not in more:
            save_tiny_student(folder / "student")
        tasks = [
            {"prompt": f"Write a function that adds {i}.", "language": "python"} for i in range(4)
        ]
        (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        training = {
            "model": "student", "tasks": "tasks.jsonl", "eval_tasks": "tasks.jsonl",
            "eval_samples_per_task": 2,
            "max_steps": steps, "prompts_per_step": 2, "max_new_tokens": 8, "device": "cpu",
            "lora_r": 4,
        } | more  # fmt: skip
        marks = {
            "scoring_url": url,
            "run": "end-to-end",
            "num_samples_per_prompt": GROUP,
            "service_wait_s": 60.0,
        }
        settings = {"training": training, "rlaif": {**marks, **(rlaif or {})}}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        self.run_dir = folder / "runs" / "end-to-end"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "markbook.trainer", "--config", "config.yaml"],
            cwd=folder,
            env=clean_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def read_until(self, start: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith(start):
                return
        raise AssertionError("\n".join(self.lines))

    def finish(self, timeout_s: float = 120) -> int:
        rest, _ = self.process.communicate(timeout=timeout_s)
        self.lines += rest.splitlines()
        return self.process.returncode

    def read(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.run_dir / name).read_text().splitlines()]

    def summary(self) -> dict:
        return json.loads((self.run_dir / "summary.json").read_text())


def loads_with_peft_alone(folder: Path) -> None:
    model = peft.PeftModel.from_pretrained(tiny_model(), folder)
    assert torch.isfinite(model(input_ids=torch.tensor([[1, 2, 3]])).logits).all()


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # PEFT reads it
def test_a_run_from_start_to_end(tmp_path):
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}") as service:
        trainer = TrainerProcess(tmp_path, service.url)
        assert trainer.finish() == 0, "\n".join(trainer.lines)
        with service.client() as client:
            stats = client.stats()
    samples = trainer.read("samples.jsonl")
    training = [line for line in samples if line["phase"] == "train"]
    assert len(training) == STEPS * 2 * GROUP == stats.runs["end-to-end"].samples
    assert len(samples) - len(training) == 2 * 4 * 2 == stats.runs["end-to-end/eval"].samples
    last, evaluation = trainer.read("metrics.jsonl")[-2:]
    assert evaluation["eval_scored"] + evaluation["eval_unscored"] == 4 * 2
    for name in (
        "api_tokens_sent",
        "api_tokens_received",
        "tokens_saved",
        "cost_usd",
        "teacher_calls",
        "samples",
    ):
        assert last[name] == getattr(stats.runs["end-to-end"], name)
    sources = [line["source"] for line in training]
    assert last["by_source"] == {source: sources.count(source) for source in last["by_source"]}
    assert trainer.summary()["ended"] == "finished"
    assert (trainer.run_dir / "reward.png").read_bytes().startswith(b"\x89PNG")
    assert f"teacher: {stats.teacher.description}" in trainer.lines
    loads_with_peft_alone(trainer.run_dir / "adapter")


@pytest.mark.long
def test_a_restart_of_the_service_loses_no_mark_and_no_count(tmp_path):
    steps = 40  # plenty are left when the service is killed
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}", port=port) as service:
        trainer = TrainerProcess(tmp_path, service.url, steps)
        trainer.read_until("step 1/")
        service.stop(signal.SIGKILL)
        trainer.read_until("the scoring service at")
        service.start()
        assert trainer.finish() == 0, "\n".join(trainer.lines)
        with service.client() as client:
            counted = client.stats("end-to-end").runs["end-to-end"]
    training = [line for line in trainer.read("samples.jsonl") if line["phase"] == "train"]
    assert len(training) == steps * 2 * GROUP == counted.samples
    assert counted.unscored == 0
    assert all(line["status"] == "scored" for line in training)
    assert "the scoring service answers again" in trainer.lines


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_a_usable_folder(tmp_path, how):
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}") as service:
        trainer = TrainerProcess(tmp_path, service.url, steps=10_000)
        trainer.read_until("step 1/")
        trainer.process.send_signal(how)
        assert trainer.finish() == 130, "\n".join(trainer.lines)
    assert not [line for line in trainer.lines if "Traceback" in line]
    assert trainer.summary()["ended"] == "interrupted"
    steps = [line for line in trainer.read("metrics.jsonl") if "eval_mark" not in line]
    assert len(steps) == trainer.summary()["steps"] >= 1
    loads_with_peft_alone(trainer.run_dir / "adapter")


def test_help_says_what_a_run_leaves_and_how_it_ends():
    done = subprocess.run(
        [sys.executable, "-m", "markbook.trainer", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    for word in (
        "--config",
        "--run-dir",
        "adapter/",
        "summary.json",
        "--resume",
        "Exit status",
        "  5  ",
        "130",
    ):
        assert word in done.stdout
