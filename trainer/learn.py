"""One optimizer step from a batch of marked samples, in micro-batches whose gradients add up to the whole batch's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.settings import Config
from trainer.loss import TokenCounts, kl_term, policy_term
from trainer.policy import Policy, Sample
from trainer.reference import reference_log_probs


@dataclass(frozen=True, slots=True)
class Lesson:
    """A sample with its advantage, and whether it counts in the policy term."""

    sample: Sample
    advantage: float
    in_policy: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """`kl`: mean k3 a token, nats, before the step; None where the KL term is off. `grad_norm`: before clipping."""

    loss: float
    kl: float | None
    grad_norm: float


def accumulate(policy: Policy, lessons: Sequence[Lesson], config: Config) -> tuple[float, float | None]:
    """Add the gradient of the step's loss to the parameters; returns the loss and the mean KL."""
    rlaif = config.rlaif
    use_kl = rlaif.use_frozen_reference_for_kl
    # Neighbours share a prompt and a length: less is read twice, less is padding.
    order = sorted(
        (lesson for lesson in lessons if use_kl or lesson.in_policy),
        key=lambda lesson: (lesson.sample.task.index, len(lesson.sample.ids)),
    )
    counts = TokenCounts(
        policy=sum(len(lesson.sample.ids) for lesson in order if lesson.in_policy),
        kl=sum(len(lesson.sample.ids) for lesson in order),
    )
    loss_sum = kl_sum = 0.0
    size = config.training.micro_batch_size
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        samples = [lesson.sample for lesson in batch]
        with policy.learning():
            log_probs = policy.log_probs(samples, rlaif.generation_temperature)
        loss = policy_term(log_probs, _per_token(batch, log_probs), counts)
        if use_kl:
            kl = kl_term(log_probs, reference_log_probs(policy, samples, rlaif.generation_temperature), counts)
            loss = loss + rlaif.kl_penalty * kl
            kl_sum += kl.item()
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.item()
    return loss_sum, kl_sum if use_kl else None


def learn(policy: Policy, optimizer: torch.optim.Optimizer, lessons: Sequence[Lesson], config: Config) -> StepResult:
    """Gradient, clipping, step. Raises RuntimeError, and steps nowhere, if the gradient is not finite."""
    loss, kl = accumulate(policy, lessons, config)
    norm = torch.nn.utils.clip_grad_norm_(policy.trainable, config.training.max_grad_norm, error_if_nonfinite=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(loss, kl, norm.item())


def _per_token(batch: Sequence[Lesson], like: Tensor) -> Tensor:
    values = torch.tensor([lesson.advantage for lesson in batch], dtype=like.dtype, device=like.device)
    lengths = torch.tensor([len(lesson.sample.ids) for lesson in batch], device=like.device)
    return values.repeat_interleave(lengths)
