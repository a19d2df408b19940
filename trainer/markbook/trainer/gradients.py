"""The gradient of one update: experiences in micro-batches, whose gradients add up to that of
the whole batch.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from torch import Tensor

from markbook.config.settings import Config
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.micro_batches import gather_within_memory
from markbook.trainer.model.device_tensors import to_device
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
from markbook.trainer.sample_stats import by_task_and_length, token_kl
from markbook.trainer.step_sums import StepSums, SumsRead
from markbook.trainer.types import Sample


@dataclass(frozen=True, slots=True)
class Experience:
    """A sample with its advantage, and whether it counts in the policy term.

    `own_log_probs`: of its tokens under the policy that drew it, by the learner's arithmetic; empty
    where the sampler's are used.
    """

    sample: Sample
    advantage: float
    in_policy: bool
    own_log_probs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Accumulated:
    """`kl`: nats per token before the step, None without a KL term in the loss. `clip_fraction`: of
    the policy term's tokens, those that PPO's clip or the cap of their importance holds back; None
    where neither applies. `log_prob_gap`: mean |log-prob now - when drawn| of a token, nats.
    `ratio_max`: the largest probability now / when drawn, of a token. `entropy`: of a token's
    distribution, nats, mean over the tokens read.
    """

    loss: float
    kl: float | None
    clip_fraction: float | None
    log_prob_gap: float
    ratio_max: float
    entropy: float


def accumulate(
    policy: Policy,
    reference: Reference | None,
    experiences: Sequence[Experience],
    config: Config,
    kl_penalty: float,
    ranks: ProcessGroup = SINGLE_PROCESS,
    micro_batch_size: int | None = None,
) -> Accumulated:
    """Add the gradient of the update's loss to the parameters.

    All processes have all experiences and share the work.

    `micro_batch_size`: instead of `training.micro_batch_size`. Raises GpuMemoryError in all
    processes, with a part of the gradient added, where one has too little memory.
    """
    rlaif, size = config.rlaif, micro_batch_size or config.training.micro_batch_size
    held = reference if rlaif.kl_in == "loss" else None
    reads_all = held is not None or rlaif.entropy_coef > 0
    order = sorted(
        (experience for experience in experiences if reads_all or experience.in_policy),
        key=lambda experience: by_task_and_length(experience.sample),
    )
    counts = [sample_count(len(experience.sample.ids), rlaif) for experience in order]
    totals = LossDenominators(
        policy=sum(
            count for count, experience in zip(counts, order, strict=True) if experience.in_policy
        ),
        kl=sum(counts),
    )
    all_tokens = sum(len(experience.sample.ids) for experience in order)
    policy_tokens = sum(len(experience.sample.ids) for experience in order if experience.in_policy)
    shard = ranks.shard([order[start : start + size] for start in range(0, len(order), size)])
    policy.was_read = Read()
    sums = gather_within_memory(
        lambda: _add_gradients(policy, held, shard, config, kl_penalty, totals, all_tokens),
        ranks,
        size,
    )
    read = reduce(operator.add, sums)
    ranks.add_gradients(policy.trainable)
    has_clip = rlaif.loss == "ppo_clip" or any(
        is_off_policy(experience.sample, policy, config) for experience in order
    )
    return Accumulated(
        read.loss,
        read.kl if held else None,
        read.held_back / max(policy_tokens, 1) if has_clip else None,
        read.gap / all_tokens,
        read.ratio_max,
        read.entropy / all_tokens,
    )


def _add_gradients(
    policy: Policy,
    held: Reference | None,
    micro_batches: Sequence[Sequence[Experience]],
    config: Config,
    kl_penalty: float,
    totals: LossDenominators,
    all_tokens: int,
) -> SumsRead:
    """Forward and backward pass of this process's micro-batches. `held`: the reference of a KL term
    in the loss. `all_tokens`: of the whole update.
    """
    rlaif, sums = config.rlaif, StepSums(policy.device)
    # the figure stays one per token where the term is a sum over a sample's tokens, or over a
    # constant
    by_token = rlaif.loss_agg_mode in ("sequence_sum", "constant")
    # Nothing in this loop reads a number from the device: its queue would run empty.
    for batch in micro_batches:
        samples = [experience.sample for experience in batch]
        with policy.learning():
            states = policy.states(samples)
        log_probs, entropy = policy.log_probs_and_entropy(
            samples, rlaif.generation_temperature, states, rlaif.entropy_coef > 0
        )
        tokens = _loss_inputs(batch, log_probs, policy, config)
        loss, kl_share = policy_loss(tokens, totals, rlaif), None
        if rlaif.entropy_coef > 0:
            loss = loss - rlaif.entropy_coef * entropy.sum() / all_tokens
        if held is not None:
            found = token_kl(policy, held, samples, states, tokens.log_probs, rlaif)
            term = kl.kl_term(found, tokens.weights * tokens.importance, totals.kl)
            loss = loss + kl_penalty * term
            kl_share = kl.kl_term(found, tokens.importance, all_tokens) if by_token else term
        with (
            policy.learning()
        ):  # layers that are computed again have to be in the mode they were in
            loss.backward()  # type: ignore[no-untyped-call]
        moved = tokens.log_probs.detach() - tokens.sampled
        sums.add(loss, kl_share, moved, limited_tokens(tokens, rlaif), entropy)
    return sums.read()


def build_experiences(samples: Sequence[Sample], advantages: Advantages) -> list[Experience]:
    """What is to be learned from the samples of all groups, in their order; those that leave the
    loss are left out.
    """
    rows = zip(
        samples,
        advantages.values.flatten(),
        advantages.in_policy.flatten(),
        advantages.in_loss.flatten(),
        strict=True,
    )
    return [
        Experience(sample, float(value), bool(policy))
        for sample, value, policy, loss in rows
        if loss
    ]


def is_off_policy(sample: Sample, policy: Policy, config: Config) -> bool:
    """Whether another policy drew it: an earlier one, or the same by another program's
    arithmetic.
    """
    return sample.updates < policy.updates or config.training.generates_elsewhere


def _loss_inputs(
    batch: Sequence[Experience], log_probs: Tensor, policy: Policy, config: Config
) -> LossInputs:
    rlaif = config.rlaif
    rows: list[list[float]] = [[], [], [], [], []]
    places: list[int] = []
    for place, experience in enumerate(batch):
        sample, length = experience.sample, len(experience.sample.ids)
        rows[0] += sample.log_probs
        rows[1] += experience.own_log_probs or sample.log_probs
        rows[2] += [experience.advantage] * length
        rows[3] += [token_weight(length, rlaif, config.training.max_new_tokens)] * length
        rows[4] += [float(is_off_policy(sample, policy, config))] * length
        places += [place] * length
    # one copy to the device for all of them
    sampled, own, advantages, weights, off = to_device(rows, log_probs.device, log_probs.dtype)
    old = (
        own.where(off > 0, log_probs.detach())
        if rlaif.importance_sampling_level == "sequence"
        else sampled
    )
    log_ratio = log_ratios(log_probs, old, to_device(places, log_probs.device), rlaif)
    importance = importance_weights(log_ratio, rlaif.importance_sampling_cap).where(off > 0, 1.0)
    return LossInputs(log_probs, sampled, advantages, weights, importance, log_ratio)
