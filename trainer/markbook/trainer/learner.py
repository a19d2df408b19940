"""One optimizer step from a batch of marked samples, in micro-batches whose gradients add up to the whole batch's."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import transformers
from torch import Tensor

from markbook.config.settings import Config, Rlaif
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.kl_to_reference import by_prompt_and_length, sample_kl, token_kl
from markbook.trainer.micro_batches import MicroBatches, gather_within_memory
from markbook.trainer.model.device_tensors import to_device
from markbook.trainer.model.policy import Policy, Read
from markbook.trainer.model.reference import Reference
from markbook.trainer.objective import kl
from markbook.trainer.objective.advantages import Advantages
from markbook.trainer.objective.loss import (
    LossDenominators,
    LossInputs,
    clipped_tokens,
    importance_weights,
    policy_loss,
    truncated_tokens,
)
from markbook.trainer.step_sums import StepSums, SumsRead
from markbook.trainer.types import Sample, StepResult


@dataclass(frozen=True, slots=True)
class Experience:
    """A sample with its advantage, and whether it counts in the policy term."""

    sample: Sample
    advantage: float
    in_policy: bool


@dataclass(frozen=True, slots=True)
class RewardKl:
    """KL as a part of the reward. `penalties` (N,): coefficient x nats a sample. `per_token`: mean, nats."""

    penalties: Tensor
    per_token: float


@dataclass(frozen=True, slots=True)
class Accumulated:
    """`kl`: nats per token before the step, None without a KL term in the loss. `clip_fraction`: of the policy term's
    tokens, those that PPO's clip or the cap of their importance holds back; None where neither applies.
    `log_prob_gap`: mean |log-prob now - when drawn| of a token, nats. `ratio_max`: the largest probability now / when
    drawn."""

    loss: float
    kl: float | None
    clip_fraction: float | None
    log_prob_gap: float
    ratio_max: float


class Learner:
    """The optimizer, its schedule, and the coefficient of the KL: all that changes with a step but the adapter."""

    def __init__(
        self, policy: Policy, reference: Reference | None, config: Config, ranks: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        training = config.training
        self._policy, self._reference, self._config, self._ranks = policy, reference, config, ranks
        self._optimizer = torch.optim.AdamW(
            policy.trainable, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        schedule: Any = transformers.get_scheduler(
            "constant_with_warmup" if training.lr_scheduler_type == "constant" else training.lr_scheduler_type,
            self._optimizer,
            num_warmup_steps=training.warmup_steps,
            num_training_steps=training.max_steps,
        )
        self._schedule = schedule.lr_lambdas[0]  # updates done -> share of the step size
        self.kl_penalty = config.rlaif.kl_penalty
        self.micro_batches = MicroBatches(training.micro_batch_size)

    def state(self) -> dict[str, Any]:
        """All that a later Learner needs to go on from here."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "updates": self._policy.updates,
            "kl_penalty": self.kl_penalty,
            **self.micro_batches.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`. What the configuration says (step size, decay, coefficient) applies from now."""
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
            policy, lambda size: sample_kl(policy, reference, samples, self._config, self._ranks, size)
        )
        nats = torch.tensor(found, dtype=torch.float64)
        tokens = sum(len(sample.ids) for sample in samples)
        return RewardKl(self.kl_penalty * nats, nats.sum().item() / tokens)

    def step(self, experiences: Sequence[Experience], reward_kl: RewardKl | None = None) -> StepResult:
        """Gradient, clipping, step. Raises RuntimeError, and steps nowhere, if the gradient is not finite.

        Raises GpuMemoryError, with the state of before, where the micro-batches cannot be made to fit.
        """
        rlaif, kl_penalty, policy = self._config.rlaif, self.kl_penalty, self._policy
        learning_rate = self._config.training.learning_rate * self._schedule(policy.updates)
        policy_lag = policy.updates - statistics.fmean(experience.sample.updates for experience in experiences)
        done = self.micro_batches.run(
            policy,
            lambda size: accumulate(policy, self._reference, experiences, self._config, kl_penalty, self._ranks, size),
        )
        padding, places = self._ranks.all_reduce_sum(policy.was_read.padding, policy.was_read.places)
        norm = torch.nn.utils.clip_grad_norm_(
            policy.trainable, self._config.training.max_grad_norm, error_if_nonfinite=True
        )
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        policy.updates += 1
        found = reward_kl.per_token if reward_kl else done.kl
        if rlaif.adaptive_kl_enabled and found is not None:
            self.kl_penalty = kl.update_kl_coef(kl_penalty, found, rlaif.target_kl, rlaif.kl_gain)
        return StepResult(
            done.loss,
            found,
            kl_penalty,
            done.clip_fraction,
            norm.item(),
            learning_rate,
            policy_lag,
            done.log_prob_gap,
            done.ratio_max,
            padding / places,
        )


def accumulate(
    policy: Policy,
    reference: Reference | None,
    experiences: Sequence[Experience],
    config: Config,
    kl_penalty: float,
    ranks: ProcessGroup = SINGLE_PROCESS,
    micro_batch_size: int | None = None,
) -> Accumulated:
    """Add the gradient of the step's loss to the parameters. All processes have all lessons, and share the work.

    `micro_batch_size`: instead of `training.micro_batch_size`. Raises GpuMemoryError in all processes, with a part of
    the gradient added, where one has too little memory.
    """
    rlaif, size = config.rlaif, micro_batch_size or config.training.micro_batch_size
    held = reference if rlaif.kl_in == "loss" else None
    # Neighbours share a prompt and a length: less is read twice, less is padding.
    order = sorted(
        (experience for experience in experiences if held or experience.in_policy),
        key=lambda experience: by_prompt_and_length(experience.sample),
    )
    totals = LossDenominators(
        policy=sum(_count(experience.sample, rlaif) for experience in order if experience.in_policy),
        kl=sum(_count(experience.sample, rlaif) for experience in order),
    )
    policy_tokens = sum(len(experience.sample.ids) for experience in order if experience.in_policy)
    shard = ranks.shard([order[start : start + size] for start in range(0, len(order), size)])
    policy.was_read = Read()
    sums = gather_within_memory(lambda: _add_gradients(policy, held, shard, config, kl_penalty, totals), ranks, size)
    read = reduce(operator.add, sums)
    ranks.add_gradients(policy.trainable)
    has_clip = rlaif.loss == "ppo_clip" or any(_off_policy(experience.sample, policy, config) for experience in order)
    clip_fraction = read.held_back / max(policy_tokens, 1) if has_clip else None
    log_prob_gap = read.gap / sum(len(experience.sample.ids) for experience in order)
    return Accumulated(read.loss, read.kl if held else None, clip_fraction, log_prob_gap, read.ratio_max)


def _add_gradients(
    policy: Policy,
    held: Reference | None,
    micro_batches: Sequence[Sequence[Experience]],
    config: Config,
    kl_penalty: float,
    totals: LossDenominators,
) -> SumsRead:
    """Forward and backward pass of this process's micro-batches. `held`: the reference of a KL term in the loss."""
    rlaif, sums = config.rlaif, StepSums(policy.device)
    # Nothing in this loop reads a number from the device: its queue would run empty.
    for batch in micro_batches:
        samples = [experience.sample for experience in batch]
        with policy.learning():
            states = policy.states(samples)
        log_probs = policy.log_probs(samples, rlaif.generation_temperature, states)
        tokens = _loss_inputs(batch, log_probs, rlaif, [_off_policy(sample, policy, config) for sample in samples])
        loss, kl_share = policy_loss(tokens, totals, rlaif.loss, rlaif.clip_range), None
        if held is not None:
            found = token_kl(policy, held, samples, states, tokens.log_probs, rlaif)
            kl_share = kl.kl_term(found, tokens.weights * tokens.importance, totals.kl)
            loss = loss + kl_penalty * kl_share
        with policy.learning():  # layers that are computed again have to be in the mode they were in
            loss.backward()  # type: ignore[no-untyped-call]
        if rlaif.loss == "ppo_clip":
            held_back = clipped_tokens(tokens, rlaif.clip_range)
        else:
            held_back = truncated_tokens(tokens, rlaif.importance_sampling_cap)
        sums.add(loss, kl_share, tokens.log_probs.detach() - tokens.sampled, held_back)
    return sums.read()


def build_experiences(samples: Sequence[Sample], advantages: Advantages) -> list[Experience]:
    """What is to be learned from the samples of all groups, in their order; those that leave the loss are left out."""
    rows = zip(
        samples, advantages.values.flatten(), advantages.in_policy.flatten(), advantages.in_loss.flatten(), strict=True
    )
    return [Experience(sample, float(value), bool(policy)) for sample, value, policy, loss in rows if loss]


def _count(sample: Sample, rlaif: Rlaif) -> int:
    return len(sample.ids) if rlaif.loss_agg_mode == "token" else 1


def _off_policy(sample: Sample, policy: Policy, config: Config) -> bool:
    """Whether another policy drew it: an earlier one, or the same by another program's arithmetic."""
    return sample.updates < policy.updates or config.training.generation_url is not None


def _loss_inputs(
    batch: Sequence[Experience], log_probs: Tensor, rlaif: Rlaif, off_policy: Sequence[bool]
) -> LossInputs:
    by_sample = rlaif.loss_agg_mode == "sequence"
    sampled: list[float] = []
    advantages: list[float] = []
    weights: list[float] = []
    is_off_policy: list[float] = []
    for experience, off in zip(batch, off_policy, strict=True):
        length = len(experience.sample.ids)
        sampled += experience.sample.log_probs
        advantages += [experience.advantage] * length
        weights += [1 / length if by_sample else 1.0] * length
        is_off_policy += [float(off)] * length
    # one copy to the device for all of them
    rows = to_device([sampled, advantages, weights, is_off_policy], log_probs.device, log_probs.dtype)
    importance = importance_weights(log_probs, rows[0], rlaif.importance_sampling_cap).where(rows[3] > 0, 1.0)
    return LossInputs(log_probs, rows[0], rows[1], rows[2], importance)
