"""Optimizer steps on a batch of marked samples, each in micro-batches whose gradients add up to
the whole step's.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers

from markbook.config.settings import Config
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.gradients import Experience, accumulate, is_off_policy
from markbook.trainer.micro_batches import MicroBatches
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import Reference
from markbook.trainer.objective import kl
from markbook.trainer.objective.minibatches import split_minibatches
from markbook.trainer.sample_stats import RewardKl, sample_kl, sample_log_probs
from markbook.trainer.types import Sample, StepResult, merge_updates


class Learner:
    """The optimizer, its schedule, and the coefficient of the KL: all that changes with a step
    but the adapter.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Reference | None,
        config: Config,
        ranks: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        training = config.training
        self._policy, self._reference, self._config, self._ranks = policy, reference, config, ranks
        self._optimizer = torch.optim.AdamW(
            policy.trainable, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        schedule: Any = transformers.get_scheduler(
            "constant_with_warmup"
            if training.lr_scheduler_type == "constant"
            else training.lr_scheduler_type,
            self._optimizer,
            num_warmup_steps=training.warmup_steps,
            num_training_steps=training.max_steps * config.rlaif.updates_per_batch,
        )
        self._schedule = schedule.lr_lambdas[0]  # updates done -> share of the step size
        self.kl_penalty = config.rlaif.kl_penalty
        self.micro_batches = MicroBatches(training.micro_batch_size)

    def state(self) -> dict[str, Any]:
        """All that a later Learner needs to continue from here."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "updates": self._policy.updates,
            "kl_penalty": self.kl_penalty,
            **self.micro_batches.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state()`.

        What the configuration says (step size, decay, coefficient) applies from now.
        """
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        self._policy.updates = state["updates"]
        self.micro_batches.restore(state)
        if self._config.rlaif.adaptive_kl_enabled:
            self.kl_penalty = state["kl_penalty"]

    def reward_kl(self, samples: Sequence[Sample]) -> RewardKl | None:
        """The KL of each sample; None unless it belongs in the reward. Raises GpuMemoryError."""
        if self._reference is None or self._config.rlaif.kl_in != "reward":
            return None
        policy, reference = self._policy, self._reference
        found = self.micro_batches.run(
            policy,
            lambda size: sample_kl(policy, reference, samples, self._config, self._ranks, size),
        )
        nats = torch.tensor(found, dtype=torch.float64)
        tokens = sum(len(sample.ids) for sample in samples)
        return RewardKl(self.kl_penalty * nats, nats.sum().item() / tokens)

    def step(
        self, experiences: Sequence[Experience], reward_kl: RewardKl | None = None
    ) -> StepResult:
        """Learn from one batch, in `updates_per_batch` optimizer steps: each epoch goes once
        through the batch, divided into minibatches of whole tasks, each with denominators of its
        own. After the first update the samples are of an earlier policy, and weighted as stale ones
        are.

        Raises RuntimeError, and does not take that optimizer step, if a gradient is not finite;
        GpuMemoryError, with the state before that optimizer step, where the micro-batches cannot be
        made to fit.
        """
        rlaif = self._config.rlaif
        if rlaif.importance_sampling_level == "sequence" and rlaif.updates_per_batch > 1:
            experiences = self._with_own_log_probs(experiences)
        result = merge_updates([self._update(part) for part in self._minibatches(experiences)])
        found = reward_kl.per_token if reward_kl else result.kl
        if rlaif.adaptive_kl_enabled and found is not None:
            self.kl_penalty = kl.update_kl_coef(
                self.kl_penalty, found, rlaif.target_kl, rlaif.kl_gain
            )
        return replace(result, kl=found)

    def _minibatches(self, experiences: Sequence[Experience]) -> list[list[Experience]]:
        rlaif = self._config.rlaif
        tasks = [experience.sample.task.index for experience in experiences]
        in_policy = [experience.in_policy for experience in experiences]
        parts = rlaif.updates_per_batch // rlaif.epochs_per_batch
        minibatches: list[list[Experience]] = []
        for epoch in range(rlaif.epochs_per_batch):
            stream = (self._policy.updates, epoch)
            for places in split_minibatches(
                tasks, in_policy, parts, self._config.training.seed, stream
            ):
                minibatches.append([experiences[place] for place in places])
        return minibatches

    def _with_own_log_probs(self, experiences: Sequence[Experience]) -> list[Experience]:
        """A ratio per sample has a clip so narrow that the sampler's rounding would trip it: fresh
        samples get the log-probabilities that the learner itself computes before the first update.
        """
        fresh = [
            not is_off_policy(experience.sample, self._policy, self._config)
            for experience in experiences
        ]
        samples = [
            experience.sample
            for experience, is_fresh in zip(experiences, fresh, strict=True)
            if is_fresh
        ]
        policy = self._policy
        found = iter(
            self.micro_batches.run(
                policy,
                lambda size: sample_log_probs(policy, samples, self._config, self._ranks, size),
            )
        )
        return [
            replace(experience, own_log_probs=next(found)) if is_fresh else experience
            for experience, is_fresh in zip(experiences, fresh, strict=True)
        ]

    def _update(self, experiences: Sequence[Experience]) -> StepResult:
        """Gradient, clipping, one optimizer step."""
        policy = self._policy
        learning_rate = self._config.training.learning_rate * self._schedule(policy.updates)
        policy_lag = policy.updates - statistics.fmean(
            experience.sample.updates for experience in experiences
        )
        reference, config, kl_penalty, ranks = (
            self._reference,
            self._config,
            self.kl_penalty,
            self._ranks,
        )
        done = self.micro_batches.run(
            policy,
            lambda size: accumulate(
                policy, reference, experiences, config, kl_penalty, ranks, size
            ),
        )
        padding, places = self._ranks.all_reduce_sum(
            policy.was_read.padding, policy.was_read.places
        )
        norm = torch.nn.utils.clip_grad_norm_(
            policy.trainable, self._config.training.max_grad_norm, error_if_nonfinite=True
        )
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        policy.updates += 1
        return StepResult(
            done.loss,
            done.kl,
            self.kl_penalty,
            done.clip_fraction,
            norm.item(),
            learning_rate,
            policy_lag,
            done.log_prob_gap,
            done.ratio_max,
            padding / places,
            done.entropy,
            self._config.rlaif.entropy_coef,
        )
