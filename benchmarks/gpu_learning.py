"""Part c of gpu-check: the demo's student learns on the GPU from tests; pass@1 on held-out tasks
before and after.

The trainer is the real one, `python -m markbook.trainer`, with the demo's settings but for device
and batch. The marks are the share of tests passed, in the service's sandbox, behind a server that
implements the service's contract and needs none of the service's packages.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import SERVICE_OWNED, Config
from markbook.contract import (
    ErrorCode,
    ExtractedFrom,
    Result,
    Sample,
    SampleError,
    Scored,
    Source,
    Unscored,
)
from markbook.scoring.execution import Limits, TestRunner, open_runner
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.sample_tests import share_passed, summarized
from markbook.trainer.run import FINISHED, run_training
from tests.tiny import save_tiny_student
from tests.unit.trainer.stub import StubService

DEMO = Path(__file__).parents[1] / "demo"
ON_A_GPU = {
    "device": "cuda",
    "dtype": "auto",
    "prompts_per_step": 8,
    "generation_batch_size": 256,
}
ON_A_CPU = {"device": "cpu", "prompts_per_step": 2, "max_new_tokens": 8, "eval_samples_per_task": 2}
FIRST_STEPS = 5
"""After these the run is resumed for as many more as fit into the time that is left."""
RESERVED_S = 20.0
"""For loading it again and for what is written at its end."""


def run(dry: bool, left_s: float, steps: int) -> list[dict[str, Any]]:
    """One row. Fewer steps than asked for where the time left is short, which the row shows."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        run_dir = Path(folder) / "run"
        config = configured(dry, Path(folder))
        bounds = config.execution
        limits = Limits(
            bounds.test_timeout_s, bounds.sample_timeout_s, bounds.memory_mib * 1024 * 1024
        )
        runner = open_runner("auto", limits=limits)
        try:
            with StubService(lambda sample: marked(runner, sample)) as service:
                service.policy = {key: getattr(config.rlaif, key) for key in SERVICE_OWNED}
                total = min(steps, 2) if dry else steps
                first = min(FIRST_STEPS, (total + 1) // 2)
                code = run_training(with_steps(config, first, service.url), run_dir)
                if code == FINISHED:
                    total = min(
                        total, first + fitting(run_dir, left_s - (time.perf_counter() - started))
                    )
                    code = run_training(
                        with_steps(config, total, service.url), run_dir, resume=True
                    )
        except ConfigError as error:
            return [{"model": config.training.model, "error": str(error)}]
        finally:
            runner.close()
        if code != FINISHED:
            return [
                {
                    "model": config.training.model,
                    "error": f"the trainer ended with exit code {code}",
                }
            ]
        return [{**row(run_dir, config), "minutes": (time.perf_counter() - started) / 60}]


def with_steps(config: Config, steps: int, url: str) -> Config:
    training = config.training.model_copy(update={"max_steps": steps})
    return config.model_copy(
        update={"training": training, "rlaif": config.rlaif.model_copy(update={"scoring_url": url})}
    )


def fitting(run_dir: Path, left_s: float) -> int:
    """How many more steps fit before one more evaluation, by the time of the last step and of
    the last evaluation.
    """
    lines = [
        json.loads(line)
        for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    step_s = [line["seconds"] for line in lines if "eval_mark" not in line][-1]
    evaluation_s = [line["eval_seconds"] for line in lines if "eval_mark" in line][-1]
    return max(1, int((left_s - RESERVED_S - evaluation_s) / step_s))


def configured(dry: bool, folder: Path) -> Config:
    """The demo's configuration, made for a GPU, or for a dry run with a tiny student and a few
    tasks.
    """
    base = load_config(DEMO / "demo.yaml")
    changes: dict[str, Any] = {
        "save_every_steps": 50, "trackers": [],
        "tasks": str(DEMO / "tasks" / "train.jsonl"),
        "eval_tasks": str(DEMO / "tasks" / "eval.jsonl"),
        **ON_A_GPU,
    }  # fmt: skip
    if dry:
        save_tiny_student(folder / "student")
        changes |= {"model": str(folder / "student"), "max_prompt_tokens": 2048, **ON_A_CPU}
        for name in ("tasks", "eval_tasks"):
            lines = Path(changes[name]).read_text(encoding="utf-8").splitlines(keepends=True)[:3]
            changes[name] = str(folder / f"{name}.jsonl")
            Path(changes[name]).write_text("".join(lines), encoding="utf-8")
    rlaif = base.rlaif.model_copy(update={"tests_policy": "only", "run": "gpu-check"})
    return base.model_copy(
        update={"training": base.training.model_copy(update=changes), "rlaif": rlaif}
    )


def marked(runner: TestRunner, sample: Sample) -> Result:
    """The share of its tests that a sample passes; unscored where they could not be run."""
    code = extract(sample.code, canonical(sample.language)).code
    tests = summarized(sample.tests, runner.run_sync(code, sample.tests, sample.test_setup))
    share = share_passed(tests)
    where: dict[str, Any] = {
        "extracted_from": ExtractedFrom.COMPLETION,
        "key": "gpu-check",
        "profile": "gpu-check",
    }
    if share is None:
        return Unscored(
            error=SampleError(code=ErrorCode.TESTS_UNSUPPORTED, detail="tests were not run"),
            **where,
        )
    return Scored(
        score=share, source=Source.TESTS, criteria={"correctness": share}, tests=tests, **where
    )


def row(run_dir: Path, config: Config) -> dict[str, Any]:
    """What came of the run: held-out tasks with their tests, by the trainer's own summary."""
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    steps = [line for line in lines if "eval_mark" not in line]
    passing = summary["pass_at_k"]["1"]
    spent = Counter[str]()
    for step in steps:
        spent.update(
            {name: step[f"seconds_{name}"] for name in ("generating", "scoring", "learning")}
        )
    return {
        "model": Path(config.training.model).name,
        "steps": len(steps),
        "skipped": sum(step["skipped"] is not None for step in steps),
        "pass@1 before": passing["before"],
        "pass@1 after": passing["after"],
        "95 % interval of the difference": passing["interval_95"]
        and "{:+.3f} to {:+.3f}".format(*passing["interval_95"]),
        "tasks": passing["tasks"],
        **{f"{name}, s/step": seconds / len(steps) for name, seconds in spent.items()},
    }
