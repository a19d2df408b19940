"""Marks into advantages: group baseline, whitening, and who stays out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Advantages:
    """All (P, G), for P tasks with G samples each.

    `values`: 0 where a sample has no say. `in_policy`: counts in the policy term, denominator included.
    `in_loss`: counts in the KL term.
    """

    values: Tensor
    in_policy: Tensor
    in_loss: Tensor


def advantages(rewards: Tensor, *, normalize: bool, threshold: float = 0.0) -> Advantages:
    """Advantages of `rewards` (P, G) float64, NaN where a sample is unscored.

    `normalize`: reward minus the mean of its group's scored samples, over the standard deviation of these differences
    in the batch (population, over groups that have any; the mean is 0 already). A group with fewer than two scored
    samples has no baseline, and one whose marks are all equal has nothing to say: both stay out of the policy term.
    Not `normalize`: the raw reward. Rewards strictly below `threshold` keep their place in baseline and deviation and
    leave the loss; unscored samples leave everything.

    Source: group baseline, DeepSeekMath (GRPO), https://arxiv.org/abs/2402.03300; deviation over the batch,
    REINFORCE++, https://arxiv.org/abs/2501.03262.
    """
    scored = ~rewards.isnan()
    in_loss = scored & (rewards >= threshold)
    if not normalize:
        return Advantages(rewards.where(in_loss, 0.0), in_loss, in_loss)
    counts = scored.sum(-1, keepdim=True)
    means = rewards.nansum(-1, keepdim=True) / counts.clamp(min=1)
    lowest = rewards.where(scored, torch.inf).amin(-1, keepdim=True)
    highest = rewards.where(scored, -torch.inf).amax(-1, keepdim=True)
    has_say = scored & (highest > lowest)
    values = (rewards - means).where(has_say, 0.0)
    if has_say.any():
        values = values / values[has_say].square().mean().sqrt()
    in_policy = has_say & in_loss
    return Advantages(values.where(in_policy, 0.0), in_policy, in_loss)


def zero_variance_groups(rewards: Tensor) -> int:
    """Groups with at least two scored samples and no difference between them."""
    scored = ~rewards.isnan()
    lowest = rewards.where(scored, torch.inf).amin(-1)
    highest = rewards.where(scored, -torch.inf).amax(-1)
    return int(((scored.sum(-1) >= 2) & (highest == lowest)).sum())
