"""READ FIRST: the training run. Prompts -> samples -> marks -> advantages -> loss -> step, top to bottom in `step`.

What it leaves out: more than one GPU, generation by another server, learning while marks are waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path

import torch

from shared.client import RequestRejected, ScoringClient
from shared.config import ConfigError
from shared.contract import Result, Scored
from shared.settings import Config
from trainer import interrupt
from trainer.advantages import advantages, zero_variance_groups
from trainer.checkpoint import START, Progress, checkpoints, load_checkpoint, save_checkpoint, save_final
from trainer.evaluate import EVALUATION, Evaluation
from trainer.learn import Learner, lessons_of
from trainer.marks import GaveUp, Marker, check_policy
from trainer.metrics import Group, Metrics, Recorder, learning_metrics, reward_metrics, say, service_metrics
from trainer.policy import Policy, Sample
from trainer.prompts import Task, batches, load_tasks
from trainer.reference import base_checksum, load_reference
from trainer.rollout import Sampler
from trainer.shortage import BudgetSpent, marked_enough
from trainer.stopwatch import Stopwatch
from trainer.student import load_student
from trainer.summary import write_config, write_summary

TRAINING = 0
"""The sampling stream of training; evaluation has its own."""


class Trainer:
    """One run. Making it loads and checks everything and writes nothing; `run()` trains.

    `resume`: go on from the newest checkpoint in `run_dir`. Raises ConfigError where the file, the model, the tasks or
    the service's policy do not fit, GaveUp where the service does not answer.
    """

    def __init__(self, config: Config, run: str, run_dir: Path, client: ScoringClient, resume: bool = False) -> None:
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
            reference = load_reference(self.policy, config, say)
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
        self.learner = Learner(self.policy, reference, config)
        self.progress = Progress(base=base_checksum(self.policy))
        if resume:
            self._restore()

    def run(self) -> None:
        """Train to the end. However it ends, the adapter, the curves and a summary are there afterwards."""
        write_config(self.config, self.run_dir)
        ended = "stopped by an error"
        with Recorder(self.run_dir, self.config.training.max_steps, self.progress.logs) as self.recorder:
            try:
                self._train()
                ended = "finished"
            except KeyboardInterrupt:
                ended = "interrupted"
                raise
            except (BudgetSpent, GaveUp, RequestRejected) as error:
                ended = str(error)
                if self.progress.begun:
                    self._save()
                raise
            finally:
                save_final(self.policy, self.run_dir)
                self.recorder.draw()
                self.progress.seconds = dict(self.watch.total)
                base_unchanged = base_checksum(self.policy) == self.progress.base
                write_summary(self.run_dir, self.name, ended, self.progress, self.recorder.history, base_unchanged)
                say(f"{ended}; adapter, curves and summary are in {self.run_dir}")
                if ended != "finished":
                    say(f"go on with: python -m trainer --resume {self.run_dir}")

    def _train(self) -> None:
        training = self.config.training
        if not self.progress.begun:
            self._save(START)
            self._evaluate("before")
            self.progress.begun = True
            self._save()
        order = islice(batches(self.tasks, training.prompts_per_step, training.seed), self.progress.step, None)
        for step in range(self.progress.step + 1, training.max_steps + 1):
            interrupt.check()
            self.recorder.step(self.step(step, next(order)))
            self.progress.step = step
            if step % training.save_every_steps == 0 or step == training.max_steps:
                self._save()
                self.recorder.draw()
        self._evaluate("after")

    def step(self, step: int, tasks: Sequence[Task]) -> Metrics:
        """One step on one batch of tasks."""
        rlaif = self.config.rlaif
        self.watch.lap()
        groups = self._sample_and_mark(tasks, rlaif.num_samples_per_prompt, (TRAINING, step), self.name, "train")
        # from here on the service is not needed: what it refuses leaves the run where the last step ended
        self.progress.counters["training"] = self.marker.counters(self.name)
        self.recorder.groups(step, "train", groups)

        # A sample without a mark is NaN here, and nowhere a number.
        scores = [[r.score if isinstance(r, Scored) else torch.nan for r in results] for _, results in groups]
        marks = torch.tensor(scores, dtype=torch.float64)
        samples = [sample for group, _ in groups for sample in group]
        with self.watch("learning"):
            kl = self.learner.reward_kl(samples)
            says = advantages(marks, rlaif, kl.penalties.view_as(marks) if kl else None)
            result = self.learner.learn(lessons_of(samples, says), kl) if says.in_policy.any() else None
        skipped = None if result else "no marks" if marks.isnan().all() else "no differences to learn from"
        return {
            "step": step,
            "epoch": step * self.config.training.prompts_per_step / len(self.tasks),
            **reward_metrics(groups),
            "frac_zero_variance": zero_variance_groups(marks) / len(groups),
            **learning_metrics(result),
            "skipped": skipped,
            "skipped_steps": self.recorder.skipped + (skipped is not None),
            **service_metrics(self.progress.counters["training"]),
            **self.watch.lap(),
        }

    def _sample_and_mark(
        self, tasks: Sequence[Task], per_task: int, stream: tuple[int, int], run: str, phase: str
    ) -> list[Group]:
        """Groups in the order of `tasks`. Each is sent as soon as it is written, while the others are being written."""

        def ask(place: int, samples: Sequence[Sample], attempt: int = 0) -> Future[list[Result]]:
            return self.marker.submit(run, samples, self.progress.request_id(phase, *stream, place, attempt))

        with self.watch("generating"):
            written = self.sampler.groups(tasks, per_task, stream)
            waiting = {place: (samples, ask(place, samples)) for place, samples in written}
        with self.watch("scoring"):
            groups = [(waiting[place][0], waiting[place][1].result()) for place in range(len(tasks))]
            return marked_enough(groups, ask, self.config.rlaif, say)

    def _evaluate(self, when: str) -> None:
        if not self.eval_tasks:
            return
        say(f"evaluating {when} training: {len(self.eval_tasks)} tasks")
        per_task, run = self.config.training.eval_samples_per_task, evaluation_run(self.name)
        with self.watch("evaluation"):
            groups = self._sample_and_mark(self.eval_tasks, per_task, (EVALUATION, 0), run, f"eval_{when}")
        self.progress.counters["evaluation"] = self.marker.counters(run)
        self.recorder.groups(self.progress.step, f"eval_{when}", groups)
        self.progress.evaluations[when] = Evaluation.of(groups)

    def _save(self, name: str | None = None) -> None:
        self.progress.logs, self.progress.seconds = self.recorder.sizes(), dict(self.watch.total)
        name, keep = name or f"step-{self.progress.step}", self.config.training.save_total_limit
        save_checkpoint(self.run_dir, name, self.policy, self.progress, self.learner.state(), keep)

    def _restore(self) -> None:
        found = checkpoints(self.run_dir)
        if not found:
            say("no checkpoint yet: from the beginning")
            return
        base = self.progress.base
        self.progress, state = load_checkpoint(found[-1], self.policy)
        if self.progress.base != base:
            raise ConfigError(f"training.model {self.config.training.model} is not the one of {found[-1]}")
        self.learner.restore(state)
        for what, seconds in self.progress.seconds.items():
            self.watch.total[what] += seconds
        say(f"going on after step {self.progress.step} of {self.config.training.max_steps}")


def evaluation_run(run: str) -> str:
    """The name under which the service counts a run's evaluations, apart from its training."""
    return f"{run}/eval"
