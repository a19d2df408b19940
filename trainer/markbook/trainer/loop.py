"""READ FIRST: the training run.

Prompts -> samples -> marks -> advantages -> loss -> step, in `_train` and `step`.

Every process of a run goes through it, see distributed.py. What it leaves out: samples more than
one batch old, models that do not fit one GPU.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import torch

from markbook.client import RequestRejectedError, ScoringClient
from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.trainer.checkpoint import (
    START,
    Progress,
    checkpoints,
    load_checkpoint,
    random_state,
    save_checkpoint,
    save_final,
    set_random_state,
)
from markbook.trainer.data.task_sampling import TaskSampler
from markbook.trainer.data.tasks import load_tasks
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.errors import RewardHackingError, RunStoppedError
from markbook.trainer.gradients import build_experiences
from markbook.trainer.learner import Learner
from markbook.trainer.model.loading import load_student
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import base_checksum, load_reference
from markbook.trainer.model_card import Origin
from markbook.trainer.monitoring.evaluation import (
    EVALUATION,
    Evaluation,
    count_passed,
    evaluation_metrics,
)
from markbook.trainer.monitoring.metrics import (
    Recorder,
    learning_metrics,
    log,
    reward_metrics,
    service_metrics,
)
from markbook.trainer.monitoring.reward_hacking import check_step, hacking_metrics
from markbook.trainer.monitoring.samples_report import write_samples_page
from markbook.trainer.monitoring.trackers import Trackers, check_trackers
from markbook.trainer.objective.advantages import compute_advantages, why_skipped, zero_variance
from markbook.trainer.rewards.client import RewardClient, check_policy
from markbook.trainer.rewards.reporting import EvaluationReporter
from markbook.trainer.rollout.group_replacement import replace_uniform_groups, scores_of_groups
from markbook.trainer.rollout.queue import Draw, RolloutBatch, RolloutQueue
from markbook.trainer.rollout.vllm import make_sampler
from markbook.trainer.run_dir import evaluation_run
from markbook.trainer.summary import write_config, write_summary
from markbook.trainer.types import Metrics
from markbook.trainer.utils import signals
from markbook.trainer.utils.timer import Timer

TRAINING = 0
"""The sampling stream of training; evaluation has its own."""


class Trainer:
    """One run. Making it loads and checks everything and writes nothing; `run()` trains.

    `resume`: continue from the newest checkpoint in `run_dir`. Raises ConfigError where the file,
    the model, the tasks or the service's policy do not fit, ServiceTimeoutError where the service
    does not answer.
    """

    def __init__(
        self,
        config: Config,
        run: str,
        run_dir: Path,
        client: ScoringClient,
        resume: bool = False,
        ranks: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.config, self.name, self.run_dir, self.ranks, self.watch = (
            config,
            run,
            run_dir,
            ranks,
            Timer(),
        )
        check_trackers(config.training.trackers)
        self.marker = RewardClient(client, config.rlaif.service_wait_s, log)
        self.reporter = EvaluationReporter(client, log)
        stats = ranks.on_main(lambda: self.marker.check_access(run, config.training.eval_tasks))
        check_policy(config.rlaif, stats)
        if stats.teacher.is_stub:
            log(f"teacher: {stats.teacher.description}")
        self.origin = Origin.of(config, stats)
        ranks.all_or_raise(lambda: self._load(resume))
        self.progress.run_id = ranks.on_main(lambda: self.progress.run_id)

    def _load(self, resume: bool) -> None:
        config, training = self.config, self.config.training
        log(f"loading {training.model}")
        with self.watch("loading"):
            model, tokenizer = load_student(training)
            self.policy = Policy(model, tokenizer, training.gradient_checkpointing)
            reference = load_reference(self.policy, config, log)
        paths = (training.tasks, training.eval_tasks)
        self.tasks, self.eval_tasks = (
            load_tasks(path, tokenizer, training, use_tests=config.rlaif.use_tests) if path else []
            for path in paths
        )
        self.sampler = make_sampler(self.policy, config, self.run_dir, log)
        self.learner = Learner(self.policy, reference, config, self.ranks)
        self.progress = Progress(base=base_checksum(self.policy))
        self.kept: list[dict[str, Any]] = []
        if self.ranks.rank:  # the first one's random numbers are those of a run that is alone
            torch.manual_seed(training.seed + self.ranks.rank)
        if resume:
            self._restore()

    def run(self) -> None:
        """Train to the end.

        However it ends, the adapter, the curves and a summary are there afterwards.
        """
        with self.ranks.folder(self.run_dir, self.progress.logs) as self.run_dir:
            write_config(self.config, self.run_dir)
            self._run()

    def _run(self) -> None:
        ended = "stopped by an error"
        steps, progress = self.config.training.max_steps, self.progress
        with (
            Trackers(
                self.config, self.name, progress.run_id, self.run_dir, progress.step
            ) as trackers,
            Recorder(self.run_dir, steps, progress.logs, trackers) as self.recorder,
        ):
            try:
                self._train()
                ended = "finished"
            except KeyboardInterrupt:
                ended = "interrupted"
                raise
            except (RunStoppedError, RequestRejectedError) as error:
                ended = str(error)
                # between the updates on one batch there is no state to resume from: the last
                # checkpoint stays it
                if self.progress.begun and self.policy.updates == self.settled_updates:
                    self._save()
                raise
            finally:
                with signals.held():
                    self._wind_up(ended)

    def _wind_up(self, ended: str) -> None:
        if ended != "finished":
            log(f"{ended}: saving the state so far")
        save_final(self.policy, self.run_dir)
        self.reporter.close()
        self.recorder.draw()
        self.progress.seconds = dict(self.watch.total)
        base_unchanged = base_checksum(self.policy) == self.progress.base
        write_summary(
            self.run_dir,
            self.name,
            ended,
            self.progress,
            self.recorder.history,
            base_unchanged,
            self.origin,
        )
        log(f"{ended}; adapter, curves and summary are in {self.run_dir}")
        if ended != "finished":
            log(f"resume with: markbook train --resume {self.run_dir}")

    def _train(self) -> None:
        training, rlaif = self.config.training, self.config.rlaif
        self.settled_updates = self.policy.updates
        rollouts = RolloutQueue(
            self.sampler,
            self.marker,
            self.config,
            self.ranks,
            self.recorder,
            self.watch,
            self.progress.request_id,
        )
        self.rollouts, self.flying = rollouts, deque(map(rollouts.restart, self.kept))
        if not self.progress.begun:
            self._save(START)
            self._evaluate()
            self.progress.begun = True
            self._save()
        sent = self.progress.step + len(self.flying)
        self.order = TaskSampler(self.tasks, training, self.progress.outcomes)
        for step in range(self.progress.step + 1, training.max_steps + 1):
            signals.check()
            if training.eval_every_steps and self.progress.step % training.eval_every_steps == 0:
                self._evaluate()
            self.watch.lap()
            # with max_staleness the next batch is written before the marks of this one are waited
            # for
            for ahead in range(sent + 1, min(step + rlaif.max_staleness, training.max_steps) + 1):
                draw = Draw(self.name, "train", TRAINING, ahead)
                self.flying.append(
                    rollouts.start(draw, self.order.step(ahead), rlaif.num_samples_per_prompt)
                )
                sent = ahead
            struck = self._record(self.step(step, self.flying[0]))
            self.flying.popleft()
            self.progress.step, self.settled_updates = step, self.policy.updates
            if step % training.save_every_steps == 0 or step == training.max_steps:
                self._save()
                self.recorder.draw()
            if struck and self.config.rlaif.reward_hacking_action == "stop":
                raise RewardHackingError(
                    f"{struck}; look at the samples: what is resumed is not stopped by this again"
                )
        self._evaluate()

    def _record(self, metrics: Metrics) -> str:
        """Record a step; returns what the checks for reward hacking say, each for the first
        time.
        """
        checked, struck = check_step(self.recorder.history, metrics, self.config.rlaif)
        self.recorder.step(checked)
        for alarm in struck:
            log(f"warning: {alarm.text}")
        return "; ".join(alarm.text for alarm in struck)

    def step(self, step: int, rollout: RolloutBatch) -> Metrics:
        """One step on one batch."""
        groups, replaced = replace_uniform_groups(
            self.rollouts.marks(rollout), self.rollouts, self.order, self.config, self.name, step
        )
        # from here on the service is not needed: what it refuses leaves the run where the last step
        # ended, as a lack of memory in learning does, before which nothing of this step may be
        # recorded
        self.progress.counters["training"] = self.ranks.on_main(
            lambda: self.marker.counters(self.name)
        )

        marks = scores_of_groups(groups)
        samples = [sample for group, _ in groups for sample in group]
        self.recorder.set_status("learning")
        with self.watch("learning"):
            kl = self.learner.reward_kl(samples)
            truncated = torch.tensor([sample.truncated for sample in samples]).view_as(marks)
            penalties = kl.penalties.view_as(marks) if kl else None
            advantages = compute_advantages(marks, self.config.rlaif, penalties, truncated)
            result = (
                self.learner.step(build_experiences(samples, advantages), kl)
                if advantages.in_policy.any()
                else None
            )
        drawn = [*replaced, *groups]
        self.recorder.groups(step, "train", drawn)
        self.progress.outcomes.update(count_passed(drawn))
        skipped = None if result else why_skipped(marks, advantages)
        return {
            "step": step,
            "epoch": step * self.config.training.prompts_per_step / len(self.tasks),
            **reward_metrics(drawn),
            "frac_zero_variance": int(zero_variance(marks).sum()) / len(groups),
            "replaced_groups": len(replaced),
            **hacking_metrics(drawn),
            **learning_metrics(result),
            "skipped": skipped,
            "skipped_steps": self.recorder.skipped + (skipped is not None),
            **service_metrics(self.progress.counters["training"]),
            **self.watch.lap(),
        }

    def _evaluate(self) -> None:
        """Mark the tasks kept apart, unless that is done for this step."""
        step, done, run = self.progress.step, self.progress.evaluations, evaluation_run(self.name)
        if not self.eval_tasks or step in done:
            return
        phase = (
            "eval_before"
            if not done
            else "eval_after"
            if step == self.config.training.max_steps
            else "eval"
        )
        log(
            f"evaluating {f'after step {step}' if step else 'before training'}: "
            f"{len(self.eval_tasks)} tasks"
        )
        num_generations, before = (
            self.config.training.eval_samples_per_task,
            self.watch.total["evaluation"],
        )
        with self.watch("evaluation"):
            rollout = self.rollouts.start(
                Draw(run, f"eval_{step}", EVALUATION, 0), self.eval_tasks, num_generations
            )
            groups = self.rollouts.marks(rollout)
        self.progress.counters["evaluation"] = self.ranks.on_main(lambda: self.marker.counters(run))
        self.recorder.groups(step, phase, groups)
        done[step] = Evaluation.of(groups)
        seconds = self.watch.total["evaluation"] - before
        self.recorder.evaluation(
            step, {**evaluation_metrics(groups, done, step), "seconds": seconds}
        )
        if self.ranks.rank == 0:
            self.reporter.submit(self.name, step, done[step])
        self.recorder.draw()
        write_samples_page(self.run_dir, self.name, self.origin.marked_by)

    def _save(self, name: str | None = None) -> None:
        self.progress.logs, self.progress.seconds = self.recorder.sizes(), dict(self.watch.total)
        name, keep = name or f"step-{self.progress.step}", self.config.training.save_total_limit
        random = self.ranks.gather(lambda: random_state(self.policy.device))
        state = {
            **self.learner.state(),
            "random": random,
            "flying": [self.rollouts.keep(one) for one in self.flying],
        }
        save_checkpoint(self.run_dir, name, self.policy, self.progress, state, keep)

    def _restore(self) -> None:
        found = checkpoints(self.run_dir)
        if not found:
            log("no checkpoint yet: starting from the beginning")
            return
        base = self.progress.base
        self.progress, state = load_checkpoint(found[-1], self.policy)
        if self.progress.base != base:
            raise ConfigError(
                f"training.model {self.config.training.model} is not the one of {found[-1]}"
            )
        self.learner.restore(state)
        self.kept = state["flying"]
        if self.ranks.rank < len(state["random"]):
            set_random_state(state["random"][self.ranks.rank], self.policy.device)
        for what, seconds in self.progress.seconds.items():
            self.watch.total[what] += seconds
        log(f"resuming after step {self.progress.step} of {self.config.training.max_steps}")
