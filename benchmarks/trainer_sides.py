"""One side of bench-trainer, in a process of its own: `python -m benchmarks.trainer_sides ours|trl
SETUP`.

Both load the same student in the same precision, put the same adapter on it, and write `tokens`
tokens per sample, none fewer: neither may end a sample early, so that both read, mark and learn
from the same number of tokens. After each step a side reports in one line, and it waits for the
number of further steps.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from markbook.client import ScoringClient
from markbook.config.loading import parse_config
from markbook.config.settings import Config, Training

REPORT = "bench-trainer "


@dataclass(frozen=True)
class Setup:
    """What both sides are given. `steps`: in all; `staleness`: of ours, TRL has no such thing."""

    student: str
    url: str
    run: str
    run_dir: str
    device: str
    steps: int
    tasks: int
    samples: int
    tokens: int
    staleness: int
    trl_batch: int

    def config(self) -> Config:
        training = {
            "model": self.student, "device": self.device, "tasks": "demo/tasks/train.jsonl",
            "eval_tasks": None,
            "max_steps": self.steps, "prompts_per_step": self.tasks, "max_new_tokens": self.tokens,
            "save_every_steps": self.steps, "trackers": [],
        }  # fmt: skip
        rlaif: dict[str, Any] = {
            "scoring_url": self.url, "run": self.run, "num_samples_per_prompt": self.samples,
            "kl_penalty": 0.02,
            "use_tiered_scoring": False, "use_tests": False, "max_staleness": self.staleness,
        }  # fmt: skip
        return parse_config({"training": training, "rlaif": rlaif})


@dataclass(frozen=True)
class Report:
    """One step. Seconds; `memory`: the most bytes so far, resident on a CPU, allocated on a GPU."""

    seconds: float
    generating: float
    waiting: float
    tokens: int
    memory: int

    @property
    def learning(self) -> float:
        """All that is neither: log-probs, reference, gradient, step."""
        return self.seconds - self.generating - self.waiting


class Pace:
    """Does as many steps as requested, then waits for the next request. The wait is in no step."""

    def __init__(self) -> None:
        self._left = 0
        self._begun = 0.0

    def begin(self) -> None:
        print(f"{REPORT}ready", flush=True)
        self._await()

    def step_done(self, generating: float, waiting: float, tokens: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        report = Report(
            time.perf_counter() - self._begun, generating, waiting, tokens, peak_memory()
        )
        print(REPORT + json.dumps(asdict(report)), flush=True)
        self._left -= 1
        if self._left == 0:
            self._await()
        self._begun = time.perf_counter()

    def _await(self) -> None:
        line = sys.stdin.readline()  # empty: the other end is gone, or there is nothing more to do
        self._left = int(line) if line else -1
        self._begun = time.perf_counter()


def peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ours(setup: Setup) -> None:
    from markbook.trainer import loop
    from markbook.trainer.monitoring.metrics import Recorder
    from markbook.trainer.types import Metrics
    from markbook.trainer.utils.cpu_memory import keep_freed_memory

    keep_freed_memory()  # as `markbook train` does
    pace = Pace()

    class Paced(Recorder):
        def step(self, metrics: Metrics) -> None:
            super().step(metrics)
            assert metrics["skipped"] is None, metrics["skipped"]
            seconds = metrics["seconds_generating"], metrics["seconds_scoring"]
            pace.step_done(*seconds, metrics["completion_tokens"])

    loop.Recorder = Paced  # type: ignore[misc]
    with ScoringClient(setup.url) as client:
        trainer = loop.Trainer(setup.config(), setup.run, Path(setup.run_dir), client)
        trainer.sampler._ended = lambda _: False
        pace.begin()
        trainer.run()


def trl(setup: Setup) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from markbook.adapters.trl import markbook_reward
    from markbook.trainer.model.loading import bundled, load_base

    pace, training = Pace(), setup.config().training
    spent = {"generating": 0.0, "waiting": 0.0, "tokens": 0.0}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent[what] += time.perf_counter() - begun

    class Timed(GRPOTrainer):
        def _generate(self, *arguments: Any, **named: Any) -> Any:
            with timed("generating"):
                return super()._generate(*arguments, **named)

        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            spent["tokens"] += sum(map(len, ids))
            with timed("waiting"):
                return super()._calculate_rewards(inputs, prompts, completions, ids)

    class Paced(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            done = dict(spent)
            spent.update(generating=0.0, waiting=0.0, tokens=0.0)
            pace.step_done(done["generating"], done["waiting"], int(done["tokens"]))

    model = load_base(training)
    source = bundled(setup.student) if setup.student.startswith("bundled:") else setup.student
    trainer = Timed(
        model=model,
        reward_funcs=markbook_reward(run=setup.run, url=setup.url),
        args=GRPOConfig(**grpo_options(setup, model)),
        train_dataset=Dataset.from_list(rows(training)),
        processing_class=AutoTokenizer.from_pretrained(source, padding_side="left"),
        peft_config=LoraConfig(
            r=training.lora_r,
            lora_alpha=training.lora_alpha,
            lora_dropout=training.lora_dropout,
            target_modules=training.lora_target_modules,
            task_type="CAUSAL_LM",
        ),
        callbacks=[Paced()],
    )
    pace.begin()
    trainer.train()


def grpo_options(setup: Setup, model: Any) -> dict[str, Any]:
    """The same objective as ours, where TRL has it, and what is fastest on this machine."""
    training, rlaif = setup.config().training, setup.config().rlaif
    return {
        "output_dir": setup.run_dir,
        "max_steps": setup.steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant",
        "beta": rlaif.kl_penalty,
        "temperature": rlaif.generation_temperature,
        "num_generations": setup.samples,
        "per_device_train_batch_size": setup.trl_batch,
        "gradient_accumulation_steps": setup.tasks * setup.samples // setup.trl_batch,
        "max_completion_length": setup.tokens,
        "generation_kwargs": {"min_new_tokens": setup.tokens},
        "bf16": model.dtype == torch.bfloat16,
        "use_cpu": model.device.type == "cpu",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": setup.steps + 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": training.seed,
    }


def rows(training: Training) -> list[dict[str, Any]]:
    system = {"role": "system", "content": training.system_prompt}
    lines = [json.loads(line) for line in Path(training.tasks).read_text().splitlines()]
    return [
        {
            "prompt": [system, {"role": "user", "content": line["prompt"]}],
            "language": line["language"],
        }
        for line in lines
    ]


if __name__ == "__main__":
    {"ours": ours, "trl": trl}[sys.argv[1]](Setup(**json.loads(sys.argv[2])))
