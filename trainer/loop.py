"""READ FIRST: the training run. Prompts -> samples -> marks -> advantages -> loss -> step, top to bottom in `step`.

What it leaves out: more than one GPU, resuming, generation by another server, learning while marks are waited for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from shared.client import RequestRejected, ScoringClient
from shared.contract import Counters, Scored
from shared.settings import Config
from trainer import interrupt
from trainer.advantages import advantages, zero_variance_groups
from trainer.checkpoint import save_checkpoint, save_final
from trainer.evaluate import EVALUATION, Evaluation, summarize
from trainer.learn import Lesson, learn
from trainer.marks import GaveUp, Marker, check_policy
from trainer.metrics import Group, Metrics, Recorder, reward_metrics, say, service_metrics
from trainer.policy import Policy
from trainer.prompts import Task, batches, load_tasks
from trainer.rollout import Sampler
from trainer.stopwatch import STEP, Stopwatch
from trainer.student import load_student

TRAINING = 0
"""The sampling stream of training; evaluation has its own."""


class Trainer:
    """One run. Making it loads and checks everything and writes nothing; `run()` trains.

    Raises ConfigError where the file, the model, the tasks or the service's policy do not fit, GaveUp where the service
    does not answer.
    """

    def __init__(self, config: Config, run: str, run_dir: Path, client: ScoringClient) -> None:
        training, rlaif = config.training, config.rlaif
        self.config, self.name, self.run_dir = config, run, run_dir
        self.watch = Stopwatch()
        self.marker = Marker(client, rlaif.service_wait_s, say)
        stats = self.marker.stats()
        check_policy(rlaif, stats)
        if stats.teacher.stand_in:
            say(stats.teacher.note)
        with self.watch("loading"):
            model, tokenizer = load_student(training)
            self.policy = Policy(model, tokenizer)
        limits = (training.system_prompt, training.max_prompt_tokens)
        self.tasks = load_tasks(training.tasks, tokenizer, *limits)
        self.eval_tasks = load_tasks(training.eval_tasks, tokenizer, *limits) if training.eval_tasks else []
        self.sampler = Sampler(
            self.policy,
            temperature=rlaif.generation_temperature,
            max_new_tokens=training.max_new_tokens,
            batch_size=training.generation_batch_size,
            seed=training.seed,
        )
        self.optimizer = torch.optim.AdamW(
            self.policy.trainable, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.evaluations: dict[str, Evaluation] = {}
        self.counters = {"training": Counters(), "evaluation": Counters()}

    def run(self) -> None:
        """Train to the end. However it ends, the adapter, the curves and a summary are there afterwards."""
        training = self.config.training
        self.run_dir.mkdir(parents=True, exist_ok=True)
        as_used = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.run_dir / "config.yaml").write_text(as_used, encoding="utf-8")
        ended = "stopped by an error"
        with Recorder(self.run_dir, training.max_steps) as self.recorder:
            try:
                self._evaluate("before")
                order = batches(self.tasks, training.prompts_per_step, training.seed)
                for step in range(1, training.max_steps + 1):
                    interrupt.check()
                    self.recorder.step(self.step(step, next(order)))
                    if step % training.save_every_steps == 0:
                        save_checkpoint(self.policy, self.run_dir, step)
                        self.recorder.draw()
                self._evaluate("after")
                ended = "finished"
            except KeyboardInterrupt:
                ended = "interrupted"
                raise
            except (GaveUp, RequestRejected) as error:
                ended = str(error)
                raise
            finally:
                save_final(self.policy, self.run_dir)
                self.recorder.draw()
                self._write_summary(ended)

    def step(self, step: int, tasks: Sequence[Task]) -> Metrics:
        """One step on one batch of tasks."""
        rlaif = self.config.rlaif
        self.watch.lap()
        groups = self._sample_and_mark(tasks, rlaif.num_samples_per_prompt, (TRAINING, step), self.name)
        self.recorder.groups(step, "train", groups)

        # A sample without a mark is NaN here, and nowhere a number.
        marks = [[r.score if isinstance(r, Scored) else torch.nan for r in results] for _, results in groups]
        rewards = torch.tensor(marks, dtype=torch.float64)
        says = advantages(rewards, normalize=rlaif.use_advantage_normalization, threshold=rlaif.reward_threshold)
        lessons = [
            Lesson(sample, float(says.values[i, k]), bool(says.in_policy[i, k]))
            for i, (samples, _) in enumerate(groups)
            for k, sample in enumerate(samples)
            if says.in_loss[i, k]
        ]

        result = None
        if says.in_policy.any():
            with self.watch("learning"):
                result = learn(self.policy, self.optimizer, lessons, self.config)
        skipped = None if result else "no marks" if rewards.isnan().all() else "no differences to learn from"
        self.counters["training"] = self.marker.counters(self.name)
        return {
            "step": step,
            **reward_metrics(groups),
            "frac_zero_variance": zero_variance_groups(rewards) / len(groups),
            "loss": result.loss if result else None,
            "kl": result.kl if result else None,
            "grad_norm": result.grad_norm if result else None,
            "skipped": skipped,
            **service_metrics(self.counters["training"]),
            **self.watch.lap(),
        }

    def _sample_and_mark(self, tasks: Sequence[Task], per_task: int, stream: tuple[int, int], run: str) -> list[Group]:
        """Groups in the order of `tasks`. Each is sent as soon as it is written, while the others are being written."""
        with self.watch("generating"):
            written = self.sampler.groups(tasks, per_task, stream)
            waiting = {place: (samples, self.marker.submit(run, samples)) for place, samples in written}
        with self.watch("scoring"):
            return [(waiting[place][0], waiting[place][1].result()) for place in range(len(tasks))]

    def _evaluate(self, when: str) -> None:
        if not self.eval_tasks:
            return
        say(f"evaluating {when} training: {len(self.eval_tasks)} tasks")
        per_task, run = self.config.training.eval_samples_per_task, evaluation_run(self.name)
        with self.watch("evaluation"):
            groups = self._sample_and_mark(self.eval_tasks, per_task, (EVALUATION, 0), run)
        self.recorder.groups(len(self.recorder.history), f"eval_{when}", groups)
        self.evaluations[when] = Evaluation.of(groups)
        self.counters["evaluation"] = self.marker.counters(run)

    def _write_summary(self, ended: str) -> None:
        history = self.recorder.history
        summary = {
            "run": self.name,
            "ended": ended,
            "steps": len(history),
            "skipped_steps": sum(line["skipped"] is not None for line in history),
            **summarize(self.evaluations),
            "training": self.counters["training"].model_dump(mode="json"),
            "evaluation": self.counters["evaluation"].model_dump(mode="json"),
            "seconds": {
                "loading": self.watch.total["loading"],
                **{what: sum(line[f"seconds_{what}"] for line in history) for what in STEP},
                "evaluation": self.watch.total["evaluation"],
            },
        }
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        (self.run_dir / "summary.json").write_text(text + "\n", encoding="utf-8")
        say(f"{ended}; adapter, curves and summary are in {self.run_dir}")


def evaluation_run(run: str) -> str:
    """The name under which the service counts a run's evaluations, apart from its training."""
    return f"{run}/eval"
