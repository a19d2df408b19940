"""Marks into advantages: reward, group baseline, whitening, and who stays out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markbook.config.settings import Rlaif

GROUP_EPSILON = 1e-4
"""Added to a group's standard deviation, as in TRL: differences that are rounding do not become
advantages of 1.
"""


@dataclass(frozen=True, slots=True)
class Advantages:
    """All (P, G), for P tasks with G samples each.

    `values`: 0 where a sample has no say. `in_policy`: counts in the policy term, denominator
    included. `in_loss`: counts in the KL term.
    """

    values: Tensor
    in_policy: Tensor
    in_loss: Tensor


def compute_advantages(
    marks: Tensor, rlaif: Rlaif, penalties: Tensor | None = None, truncated: Tensor | None = None
) -> Advantages:
    """Advantages of `marks` (P, G) float64, NaN where a sample is unscored.

    `truncated` (P, G) bool: samples cut off by length, which `mask_truncated` takes out of the
    loss. The reward is `reward_weight` times the mark, less the sample's KL penalty where there are
    `penalties` (P, G). `use_advantage_normalization`: the reward less its baseline, and with
    `whiten_advantages` over a standard deviation: that of these differences in the batch
    (population, over groups that have any; the mean is 0 already), or with `whiten_over: group`
    that of the group's rewards (sample, n - 1, plus GROUP_EPSILON). The baseline is the mean over
    the group's scored samples, or over all others of them (`leave_one_out`). A group with fewer
    than two scored samples has no baseline, and one whose rewards are all equal has nothing to say:
    both stay out of the policy term. Without normalization: the raw reward.

    Marks strictly below `reward_threshold` and masked samples keep their place in baseline and
    deviation and leave the loss. Unscored samples leave everything but the KL term.

    Source: group mean and deviation, DeepSeekMath (GRPO), https://arxiv.org/abs/2402.03300; leave
    one out, RLOO, https://arxiv.org/abs/2402.14740; deviation over the batch, REINFORCE++,
    https://arxiv.org/abs/2501.03262; masked samples, DAPO, https://arxiv.org/abs/2503.14476,
    section 3.4.
    """
    scored = ~marks.isnan()
    in_loss = ~(marks < rlaif.reward_threshold)
    if rlaif.mask_truncated and truncated is not None:
        in_loss = in_loss & ~truncated
    rewards = rlaif.reward_weight * marks
    if penalties is not None:
        rewards = rewards - penalties
    if not rlaif.use_advantage_normalization:
        in_policy = scored & in_loss
        return Advantages(rewards.where(in_policy, 0.0), in_policy, in_loss)
    counts = scored.sum(-1, keepdim=True)
    means = rewards.nansum(-1, keepdim=True) / counts.clamp(min=1)
    lowest, highest = _extremes(rewards, scored)
    has_say = scored & (highest > lowest)
    differences = (rewards - means).where(has_say, 0.0)
    values = differences
    if rlaif.advantage_baseline == "leave_one_out":
        # r - (n m - r) / (n - 1) = (r - m) n / (n - 1)
        values = values * counts / (counts - 1).clamp(min=1)
    if rlaif.whiten_advantages and rlaif.whiten_over == "group":
        deviations = (differences.square().sum(-1, keepdim=True) / (counts - 1).clamp(min=1)).sqrt()
        values = values / (deviations + GROUP_EPSILON)
    elif rlaif.whiten_advantages and has_say.any():
        values = values / values[has_say].square().mean().sqrt()
    in_policy = has_say & in_loss
    return Advantages(values.where(in_policy, 0.0), in_policy, in_loss)


def zero_variance(marks: Tensor) -> Tensor:
    """(P,) bool: groups with at least two scored samples and no difference between them."""
    scored = ~marks.isnan()
    lowest, highest = _extremes(marks, scored)
    return ((scored.sum(-1, keepdim=True) >= 2) & (highest == lowest)).squeeze(-1)


def why_skipped(marks: Tensor, advantages: Advantages) -> str:
    """Why a step has nothing to learn from."""
    if marks.isnan().all():
        return "no marks"
    return "zero variance" if advantages.in_loss.any() else "no sample in the loss"


def _extremes(values: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest of each group's scored samples, (P, 1); without any, the lowest is
    above the highest.
    """
    lowest = values.where(scored, torch.inf).amin(-1, keepdim=True)
    return lowest, values.where(scored, -torch.inf).amax(-1, keepdim=True)
