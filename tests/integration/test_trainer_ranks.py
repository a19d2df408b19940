"""`accelerate launch -m markbook.trainer` with two processes on the CPU: one run, equal to that
of one process.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.tiny import save_tiny_student

STEPS, TASKS, GROUP = 2, 3, 4  # tasks that two processes cannot share evenly
TWO = (
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--main_process_port",
    "0",
    "-m",
)

pytestmark = pytest.mark.long


class Folder:
    """Runs of one configuration, each against a service of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        save_tiny_student(folder / "student")
        # no language with a parser, and no tier: of a tiny student's noise each sample is then
        # marked by the teacher
        tasks = [
            {"prompt": f"Write a line that ends in {i}.", "language": "text"} for i in range(5)
        ]
        (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        self.training = {
            "model": "student", "tasks": "tasks.jsonl", "eval_tasks": "tasks.jsonl",
            "eval_samples_per_task": 2,
            "max_steps": STEPS, "prompts_per_step": TASKS, "max_new_tokens": 12, "device": "cpu",
            "lora_r": 4,
            "learning_rate": 0.01, "micro_batch_size": 2, "save_every_steps": 1,
        }  # fmt: skip
        self.rlaif = {
            "num_samples_per_prompt": GROUP, "use_tiered_scoring": False,
            "adaptive_kl_enabled": True,
            "max_staleness": 1,
        }  # fmt: skip
        (folder / "service.yaml").write_text(
            yaml.safe_dump({"rlaif": {"use_tiered_scoring": False}})
        )

    def service(self, name: str) -> ServiceProcess:
        config = str(self.folder / "service.yaml")
        return ServiceProcess(f"sqlite:///{self.folder / name}.db", "--config", config)

    def command(self, url: str, name: str, *launcher: str, **training: object) -> list[str]:
        settings = {
            "training": self.training | training,
            "rlaif": self.rlaif | {"scoring_url": url, "run": name},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
        return [
            sys.executable,
            *(launcher or ("-m",)),
            "markbook.trainer",
            "--config",
            f"{name}.yaml",
        ]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=clean_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, command: list[str]) -> list[str]:
        process = self.start(command)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said.splitlines()

    def run_dir(self, name: str) -> Path:
        return self.folder / "runs" / name

    def lines(self, name: str, log: str) -> list[dict]:
        return [json.loads(line) for line in (self.run_dir(name) / log).read_text().splitlines()]

    def adapter(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.run_dir(name) / "adapter" / "adapter_model.safetensors")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def assert_same_run(folder, one, two):
    """Equal but for the order in which float32 numbers were added."""

    def samples(name):
        exact = ("step", "phase", "task", "sample", "tokens", "mark", "criteria")
        return [[line[key] for key in exact] for line in folder.lines(name, "samples.jsonl")]

    assert samples(one) == samples(two)
    for found, expected in zip(
        folder.lines(two, "metrics.jsonl"), folder.lines(one, "metrics.jsonl"), strict=True
    ):
        for key in expected.keys() & {
            "reward_mean",
            "loss",
            "kl",
            "kl_penalty",
            "grad_norm",
            "frac_zero_variance",
        }:
            assert found[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
    # all that was learned: lora_B starts at zero. Not element by element: where a gradient is next
    # to nothing, Adam makes a whole step of what the order of adding left of it.
    expected, found = (
        torch.cat(
            [
                tensor.flatten()
                for key, tensor in sorted(folder.adapter(name).items())
                if "lora_B" in key
            ]
        )
        for name in (one, two)
    )
    assert expected.abs().max() > 0.01
    assert (found - expected).norm() / expected.norm() < 1e-3


def test_two_processes_do_the_run_of_one(folder):
    with folder.service("one") as service:
        folder.finish(folder.command(service.url, "one"))
    with folder.service("two") as service:
        said = folder.finish(folder.command(service.url, "two", *TWO))
        with service.client() as client:
            runs = client.stats().runs
    assert_same_run(folder, "one", "two")
    assert (runs["two"].samples, runs["two/eval"].samples) == (
        STEPS * TASKS * GROUP,
        2 * 5 * 2,
    )  # each asked for once
    for line in ("run two, 2 processes", "finished; adapter, curves and summary are in runs/two"):
        assert said.count(line) == 1
    assert len([line for line in said if line.startswith("step ")]) == STEPS
    assert len(folder.lines("two", "metrics.jsonl")) == STEPS + 2  # and two evaluations
    checkpoints = folder.run_dir("two") / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-1", "step-2"]
    assert len(torch.load(checkpoints / "step-2" / "state.pt", weights_only=True)["random"]) == 2

    # on from the first step, when the second batch was on its way
    for name, launcher in (("one", ()), ("two", TWO)):
        shutil.rmtree(folder.run_dir(name) / "checkpoints" / "step-2")
        with folder.service(name) as service:
            folder.finish(
                [
                    *folder.command(service.url, name, *launcher, max_steps=STEPS + 1),
                    "--resume",
                    name,
                ]
            )
    assert_same_run(folder, "one", "two")
    assert [
        line["policy_lag"] for line in folder.lines("two", "metrics.jsonl") if "loss" in line
    ] == [0, 1, 1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_both_end_and_leave_one_usable_folder(folder, how):
    with folder.service("two") as service:
        process = folder.start(folder.command(service.url, "two", *TWO, max_steps=10_000))
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("step 2/"):
                break
        process.send_signal(how)
        rest, _ = process.communicate(timeout=300)
    said = "".join(said) + rest
    assert process.returncode != 0
    assert said.count("interrupted; adapter, curves and summary are in runs/two") == 1, said
    summary = json.loads((folder.run_dir("two") / "summary.json").read_text())
    assert summary["ended"] == "interrupted"
    assert folder.adapter("two")
