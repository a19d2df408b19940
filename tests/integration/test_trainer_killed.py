"""A run killed with SIGKILL again and again, each time resumed, against one that nobody touched."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from markbook.cli import main
from markbook.contract import Source
from tests.kill_at import kill_at
from tests.processes import ServiceProcess, clean_environment
from tests.tiny import save_tiny_student

RUN = "unkillable"
STEPS, SAVE_EVERY, GROUP = 6, 2, 6
# What is compared apart: how long it took, and what the service had counted by then, later steps of
# a killed process included. A step that is done again finds its marks in the book.
ASIDE = {
    "seconds", "seconds_generating", "seconds_scoring", "seconds_learning", "frac_waiting",
    "eval_seconds", "sources",
}  # fmt: skip
COUNTERS = {"samples", "by_source", "unscored_by_code", "teacher_calls", "tokens_saved"}

# in this order: each process starts where the last whole checkpoint is
TEN_MOMENTS = [
    ("markbook.trainer.rollout.hf:draw", 3),  # in the middle of the first evaluation's samples
    ("markbook.trainer.monitoring.metrics:sample_line", 3),  # while these are being written down
    ("markbook.trainer.checkpoint:sync", 2),  # while step 0 is being brought to the disk
    (
        "markbook.trainer.rewards.client:RewardClient.submit",
        7,
    ),  # after 5 groups of the evaluation and the first of step 1, being marked
    ("markbook.trainer.learner:accumulate", 1),  # marks there, nothing learned
    ("markbook.trainer.learner:StepResult", 2),  # the optimizer has stepped, nobody knows of it
    ("markbook.trainer.checkpoint:_publish", 1),  # step 2 whole, and without its name
    ("markbook.trainer.monitoring.metrics:step_line", 3),  # step 3 in the metrics, in no checkpoint
    ("markbook.trainer.monitoring.metrics:draw_curves", 1),  # step 4 saved, its curves not drawn
    (
        "markbook.trainer.monitoring.evaluation:Evaluation.of",
        2,
    ),  # that after step 4 done; the last one marked and written down
]

# every trainer is a process of its own, forked from one that has torch in memory already
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["markbook.trainer.loop"])


def trainer(folder: Path, arguments: list[str], kill: tuple[str, int] | None) -> None:
    """`markbook train ARGUMENTS` in this process, its output into a file; killed where `kill`
    says.
    """
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(folder)
    for key in os.environ.keys() - clean_environment():
        del os.environ[key]
    torch.set_num_threads(1)
    if kill:
        kill_at(*kill)
    sys.exit(main(["train", *arguments]))


class Folder:
    """Where a run is started, killed and started again."""

    def __init__(self, folder: Path, url: str, staleness: int) -> None:
        save_tiny_student(folder / "student")
        # no language with a parser: of a tiny student's noise only such gets marks that differ
        tasks = [
            {"prompt": f"Write a line that ends in {i}.", "language": "text"} for i in range(5)
        ]
        (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        training = {
            "model": "student", "tasks": "tasks.jsonl", "eval_tasks": "tasks.jsonl",
            "eval_samples_per_task": 2,
            "eval_every_steps": 4, "max_steps": STEPS, "prompts_per_step": 2, "max_new_tokens": 12,
            "device": "cpu",
            "lora_r": 4, "learning_rate": 0.01, "lora_dropout": 0.1, "lr_scheduler_type": "linear",
            "save_every_steps": SAVE_EVERY,
        }  # fmt: skip
        # no tier: each new sample is paid for by a call, and its mark is kept
        rlaif = {
            "scoring_url": url, "run": RUN, "num_samples_per_prompt": GROUP,
            "adaptive_kl_enabled": True,
            "use_tiered_scoring": False, "loss": "ppo_clip", "max_staleness": staleness,
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump({"training": training, "rlaif": rlaif}))
        self.folder, self.run_dir = folder, folder / "runs" / RUN

    def start(self, kill: tuple[str, int] | None = None) -> int:
        # a run that was killed before it had a folder is simply started
        resume = (
            ["--resume", RUN]
            if (self.run_dir / "metrics.jsonl").exists()
            else ["--config", "config.yaml"]
        )
        process = PROCESSES.Process(target=trainer, args=(self.folder, resume, kill))
        process.start()
        process.join()
        self.said = (self.folder / "said").read_text()
        return process.exitcode

    def lines(self, name: str, aside: set[str]) -> list[dict]:
        read = [json.loads(line) for line in (self.run_dir / name).read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in aside} for line in read]

    def adapter(self) -> dict[str, torch.Tensor]:
        return load_file(self.run_dir / "adapter" / "adapter_model.safetensors")

    def summary(self) -> dict:
        return json.loads((self.run_dir / "summary.json").read_text())


def unbroken(folder: Path, staleness: int) -> Folder:
    with service(folder) as running:
        run = Folder(folder, running.url, staleness)
        assert run.start() == 0, run.said
    assert run.summary()["skipped_steps"] < STEPS / 2
    return run


def service(folder: Path) -> ServiceProcess:
    config = folder / "service.yaml"
    config.write_text(yaml.safe_dump({"rlaif": {"use_tiered_scoring": False}}))
    return ServiceProcess(f"sqlite:///{folder / 'book.db'}", "--config", os.fspath(config))


@pytest.mark.long
@pytest.mark.parametrize(
    ("moments", "staleness"),
    [
        pytest.param(TEN_MOMENTS, 0, id="10"),
        pytest.param(TEN_MOMENTS, 1, id="10-overlapping"),
    ],
)
def test_killed_and_resumed_it_equals_an_unbroken_run(
    tmp_path_factory, tmp_path, moments, staleness
):
    whole = unbroken(tmp_path_factory.mktemp("unbroken"), staleness)
    with service(tmp_path) as running:
        run = Folder(tmp_path, running.url, staleness)
        for moment in moments:
            assert run.start(moment) == -signal.SIGKILL, (moment, run.said)
        assert run.start() == 0, run.said
    assert run.lines("metrics.jsonl", ASIDE | COUNTERS) == whole.lines(
        "metrics.jsonl", ASIDE | COUNTERS
    )
    assert run.lines("samples.jsonl", {"source"}) == whole.lines("samples.jsonl", {"source"})
    assert all(torch.equal(tensor, whole.adapter()[name]) for name, tensor in run.adapter().items())

    found, expected = run.summary(), whole.summary()
    for key in ("steps", "skipped_steps", "mark", "base_unchanged", "training", "evaluation"):
        assert found[key] == expected[key], (
            key
        )  # every sample counted once, and only new ones paid for
    assert found["training"]["samples"] == STEPS * 2 * GROUP
    assert found["training"]["by_source"][Source.TEACHER] > 0
    assert not list(run.run_dir.rglob("*.partial*"))
