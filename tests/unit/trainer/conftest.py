"""A tiny student, and whole runs of it in this process."""

from __future__ import annotations

import json

import pytest
import yaml

from markbook.cli import main
from tests.tiny import save_tiny_student


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    save_tiny_student(folder)
    return folder


@pytest.fixture
def run(tmp_path, student, monkeypatch):
    """`run(service, training={...}, rlaif={...})` -> exit code; the run folder is `tmp_path /
    "run"`.
    """
    monkeypatch.chdir(tmp_path)
    # drawing takes longer than all the rest; tests of whole processes look at the picture
    monkeypatch.setattr(
        "markbook.trainer.monitoring.metrics.draw_curves", lambda *of: of[-1].touch()
    )
    tasks = "".join(
        json.dumps({"prompt": f"task {i}", "language": "python"}) + "\n" for i in range(5)
    )
    (tmp_path / "tasks.jsonl").write_text(tasks)
    (tmp_path / "eval.jsonl").write_text(tasks[: tasks.index("\n") + 1] * 3)

    def start(service, training=None, rlaif=None, arguments=("--run-dir", "run")):
        settings = {
            "training": {
                "model": str(student), "tasks": "tasks.jsonl", "eval_tasks": "eval.jsonl",
                "max_steps": 2,
                "prompts_per_step": 2, "max_new_tokens": 6, "eval_samples_per_task": 2,
                "save_every_steps": 1,
                "micro_batch_size": 3, "learning_rate": 0.01, "lora_r": 4, "device": "cpu",
                "system_prompt": "",
            } | (training or {}),
            "rlaif": {"scoring_url": service.url, "run": "test-run", "service_wait_s": 0.0}
            | (rlaif or {}),
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        return main(["train", "--config", "config.yaml", *arguments])

    return start
