"""Optimizer steps on a batch of marked samples, each in micro-batches whose gradients add up to the whole step's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor

from markbook.config.settings import Config
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.model.policy import Policy, Read
from markbook.trainer.model.reference import Reference
from markbook.trainer.objective import kl
from markbook.trainer.objective.advantages import Advantages
from markbook.trainer.objective.loss import (
    LossDenominators,
    LossInputs,
    importance_weights,
    limited_tokens,
    log_ratios,
    policy_loss,
    sample_count,
    token_weight,
)
from markbook.trainer.objective.minibatches import split_minibatches
from markbook.trainer.sample_stats import RewardKl, by_task_and_length, sample_kl, sample_log_probs, token_kl
from markbook.trainer.types import Sample, StepResult, merge_updates


@dataclass(frozen=True, slots=True)
class Experience:
    """A sample with its advantage, and whether it counts in the policy term.

    `own_log_probs`: of its tokens under the policy that drew it, by the learner's arithmetic; empty where the sampler's
    are used.
    """

    sample: Sample
    advantage: float
    in_policy: bool
    own_log_probs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Accumulated:
    """`kl`: nats per token before the step, None without a KL term in the loss. `clip_fraction`: of the policy term's
    tokens, those that PPO's clip or the cap of their importance holds back; None where neither applies.
    `log_prob_gap`: mean |log-prob now - when drawn| of a token, nats. `ratio_max`: the largest probability now / when
    drawn, of a token. `entropy`: of a token's distribution, nats, mean over the tokens read."""

    loss: float
    kl: float | None
    clip_fraction: float | None
    log_prob_gap: float
    ratio_max: float
    entropy: float


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
            num_training_steps=training.max_steps * config.rlaif.updates_per_batch,
        )
        self._schedule = schedule.lr_lambdas[0]  # updates done -> share of the step size
        self.kl_penalty = config.rlaif.kl_penalty

    def state(self) -> dict[str, Any]:
        """All that a later Learner needs to go on from here."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "updates": self._policy.updates,
            "kl_penalty": self.kl_penalty,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`. What the configuration says (step size, decay, coefficient) applies from now."""
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        self._policy.updates = state["updates"]
        if self._config.rlaif.adaptive_kl_enabled:
            self.kl_penalty = state["kl_penalty"]

    def reward_kl(self, samples: Sequence[Sample]) -> RewardKl | None:
        """The KL of each sample; None unless it belongs in the reward."""
        if self._reference is None or self._config.rlaif.kl_in != "reward":
            return None
        found = sample_kl(self._policy, self._reference, samples, self._config, self._ranks)
        nats = torch.tensor(found, dtype=torch.float64)
        tokens = sum(len(sample.ids) for sample in samples)
        return RewardKl(self.kl_penalty * nats, nats.sum().item() / tokens)

    def step(self, experiences: Sequence[Experience], reward_kl: RewardKl | None = None) -> StepResult:
        """Learn from one batch, in `updates_per_batch` optimizer steps: each epoch goes once through the batch, divided
        into minibatches of whole tasks, each with denominators of its own. After the first update the samples are of
        an earlier policy, and weighted as stale ones are.

        Raises RuntimeError, and does not take that optimizer step, if a gradient is not finite.
        """
        rlaif = self._config.rlaif
        if rlaif.importance_sampling_level == "sequence" and rlaif.updates_per_batch > 1:
            experiences = self._with_own_log_probs(experiences)
        result = merge_updates([self._update(part) for part in self._minibatches(experiences)])
        found = reward_kl.per_token if reward_kl else result.kl
        if rlaif.adaptive_kl_enabled and found is not None:
            self.kl_penalty = kl.update_kl_coef(self.kl_penalty, found, rlaif.target_kl, rlaif.kl_gain)
        return replace(result, kl=found)

    def _minibatches(self, experiences: Sequence[Experience]) -> list[list[Experience]]:
        rlaif = self._config.rlaif
        tasks = [experience.sample.task.index for experience in experiences]
        in_policy = [experience.in_policy for experience in experiences]
        parts = rlaif.updates_per_batch // rlaif.epochs_per_batch
        minibatches: list[list[Experience]] = []
        for epoch in range(rlaif.epochs_per_batch):
            stream = (self._policy.updates, epoch)
            for places in split_minibatches(tasks, in_policy, parts, self._config.training.seed, stream):
                minibatches.append([experiences[place] for place in places])
        return minibatches

    def _with_own_log_probs(self, experiences: Sequence[Experience]) -> list[Experience]:
        """A ratio per sample has a clip so narrow that the sampler's rounding would trip it: fresh samples get the
        log-probabilities that the learner itself computes before the first update."""
        fresh = [not _off_policy(experience.sample, self._policy, self._config) for experience in experiences]
        samples = [experience.sample for experience, is_fresh in zip(experiences, fresh, strict=True) if is_fresh]
        found = iter(sample_log_probs(self._policy, samples, self._config, self._ranks))
        return [
            replace(experience, own_log_probs=next(found)) if is_fresh else experience
            for experience, is_fresh in zip(experiences, fresh, strict=True)
        ]

    def _update(self, experiences: Sequence[Experience]) -> StepResult:
        """Gradient, clipping, one optimizer step."""
        policy = self._policy
        learning_rate = self._config.training.learning_rate * self._schedule(policy.updates)
        policy_lag = policy.updates - statistics.fmean(experience.sample.updates for experience in experiences)
        policy.was_read = Read()
        done = accumulate(policy, self._reference, experiences, self._config, self.kl_penalty, self._ranks)
        padding, places = self._ranks.all_reduce_sum(policy.was_read.padding, policy.was_read.places)
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


def accumulate(
    policy: Policy,
    reference: Reference | None,
    experiences: Sequence[Experience],
    config: Config,
    kl_penalty: float,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Accumulated:
    """Add the gradient of the step's loss to the parameters. All processes have all lessons, and share the work."""
    rlaif = config.rlaif
    held = reference if rlaif.kl_in == "loss" else None
    reads_all = held is not None or rlaif.entropy_coef > 0
    order = sorted(
        (experience for experience in experiences if reads_all or experience.in_policy),
        key=lambda experience: by_task_and_length(experience.sample),
    )
    counts = [sample_count(len(experience.sample.ids), rlaif) for experience in order]
    totals = LossDenominators(
        policy=sum(count for count, experience in zip(counts, order, strict=True) if experience.in_policy),
        kl=sum(counts),
    )
    all_tokens = sum(len(experience.sample.ids) for experience in order)
    policy_tokens = sum(len(experience.sample.ids) for experience in order if experience.in_policy)
    loss_sum = kl_sum = gap_sum = ratio_max = entropy_sum = 0.0
    clipped = 0
    size = config.training.micro_batch_size
    for batch in ranks.shard([order[start : start + size] for start in range(0, len(order), size)]):
        samples = [experience.sample for experience in batch]
        with policy.learning():
            states = policy.states(samples)
        log_probs, entropy = policy.log_probs_and_entropy(
            samples, rlaif.generation_temperature, states, rlaif.entropy_coef > 0
        )
        tokens = _loss_inputs(batch, log_probs, policy, config)
        loss = policy_loss(tokens, totals, rlaif)
        entropy_sum += entropy.sum().item()
        if rlaif.entropy_coef > 0:
            loss = loss - rlaif.entropy_coef * entropy.sum() / all_tokens
        if held is not None:
            found = token_kl(policy, held, samples, states, tokens.log_probs, rlaif)
            term = kl.kl_term(found, tokens.weights * tokens.importance, totals.kl)
            loss = loss + kl_penalty * term
            # the figure stays one per token where the term is a sum over a sample's tokens, or over a constant
            by_token = rlaif.loss_agg_mode in ("sequence_sum", "constant")
            kl_sum += (kl.kl_term(found, tokens.importance, all_tokens) if by_token else term).item()
        with policy.learning():  # layers that are computed again have to be in the mode they were in
            loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.item()
        moved = tokens.log_probs.detach() - tokens.sampled
        gap_sum += moved.abs().sum().item()
        ratio_max = max(ratio_max, moved.max().exp().item())
        clipped += limited_tokens(tokens, rlaif)
    ranks.add_gradients(policy.trainable)
    sums = ranks.all_reduce_sum(loss_sum, kl_sum, gap_sum, entropy_sum, clipped)
    loss_sum, kl_sum, gap_sum, entropy_sum, held_back = sums
    ratio_max = max(ranks.gather(lambda: ratio_max))
    has_clip = rlaif.loss == "ppo_clip" or any(_off_policy(experience.sample, policy, config) for experience in order)
    clip_fraction = held_back / max(policy_tokens, 1) if has_clip else None
    found_kl = kl_sum if held else None
    return Accumulated(loss_sum, found_kl, clip_fraction, gap_sum / all_tokens, ratio_max, entropy_sum / all_tokens)


def build_experiences(samples: Sequence[Sample], advantages: Advantages) -> list[Experience]:
    """What is to be learned from the samples of all groups, in their order; those that leave the loss are left out."""
    rows = zip(
        samples, advantages.values.flatten(), advantages.in_policy.flatten(), advantages.in_loss.flatten(), strict=True
    )
    return [Experience(sample, float(value), bool(policy)) for sample, value, policy, loss in rows if loss]


def _off_policy(sample: Sample, policy: Policy, config: Config) -> bool:
    """Whether another policy drew it: an earlier one, or the same by another program's arithmetic."""
    return sample.updates < policy.updates or config.training.generation_url is not None


def _loss_inputs(batch: Sequence[Experience], log_probs: Tensor, policy: Policy, config: Config) -> LossInputs:
    rlaif, device = config.rlaif, log_probs.device
    lengths = [len(experience.sample.ids) for experience in batch]
    sample_index = torch.arange(len(batch), device=device).repeat_interleave(torch.tensor(lengths, device=device))

    def spread(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=log_probs.dtype, device=device)[sample_index]

    def join(parts: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([value for part in parts for value in part], device=device)

    sampled = join([experience.sample.log_probs for experience in batch])
    off_policy = spread([_off_policy(experience.sample, policy, config) for experience in batch]) > 0
    old = sampled
    if rlaif.importance_sampling_level == "sequence":
        own = join([experience.own_log_probs or experience.sample.log_probs for experience in batch])
        old = own.where(off_policy, log_probs.detach())
    log_ratio = log_ratios(log_probs, old, sample_index, rlaif)
    return LossInputs(
        log_probs,
        sampled,
        spread([experience.advantage for experience in batch]),
        spread([token_weight(length, rlaif, config.training.max_new_tokens) for length in lengths]),
        importance_weights(log_ratio, rlaif.importance_sampling_cap).where(off_policy, 1.0),
        log_ratio,
    )
