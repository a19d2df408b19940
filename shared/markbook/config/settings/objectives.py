"""Objectives by name: the options that each value of `rlaif.objective` stands for.

A key that is set itself wins.

In every name the options are the published ones. Two things differ in all of them: samples without
a mark and groups whose rewards are all equal leave the means instead of counting as zero, and
`kl_penalty` is never set by a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

ObjectiveName = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce"]

REINFORCE: Final[Mapping[str, Any]] = {
    "advantage_baseline": "mean",
    "whiten_advantages": True,
    "whiten_over": "batch",
    "loss": "reinforce",
    "clip_range": 0.2,
    "importance_sampling_level": "token",
    "importance_sampling_cap": 2.0,
    "loss_agg_mode": "token",
    "mask_truncated": False,
    "use_frozen_reference_for_kl": True,
    "kl_estimator": "k3",
    "kl_in": "loss",
}
"""The default: REINFORCE with the mean of the group as its baseline, advantages over their
deviation in the batch, the mean over tokens, and a KL term in the loss.

Source: Williams 1992, https://doi.org/10.1007/BF00992696; baseline and deviation,
REINFORCE++-baseline, https://arxiv.org/abs/2501.03262, whose KL term is k2.
"""

GRPO: Final[Mapping[str, Any]] = {
    **REINFORCE,
    "whiten_over": "group",
    "loss": "ppo_clip",
    "loss_agg_mode": "sequence",
}
"""Advantages over the deviation of their group, PPO's clip, the mean over each sample's tokens and
then over samples, k3 in the loss.

Source: DeepSeekMath, https://arxiv.org/abs/2402.03300, equations 3 and 4.
"""

DR_GRPO: Final[Mapping[str, Any]] = {
    **GRPO,
    "whiten_advantages": False,
    "loss_agg_mode": "constant",
    "use_frozen_reference_for_kl": False,
}
"""GRPO without its two biases: the sum of a sample's tokens is divided by a constant instead of its
length, and advantages are not divided by a deviation. No KL term.

Source: Understanding R1-Zero-like training, https://arxiv.org/abs/2503.20783, section 3.2.
"""

DAPO: Final[Mapping[str, Any]] = {
    **GRPO,
    "clip_range_high": 0.28,
    "loss_agg_mode": "token",
    "mask_truncated": True,
    "use_frozen_reference_for_kl": False,
}
"""GRPO with a clip that is wider upwards, the mean over tokens, and without the samples that were
cut off. No KL term.

Its dynamic sampling is `training.max_group_replacements`; its soft penalty for length is not built.
Source: https://arxiv.org/abs/2503.14476, sections 3.1 to 3.4.
"""

GSPO: Final[Mapping[str, Any]] = {
    **GRPO,
    "clip_range": 3e-4,
    "clip_range_high": 4e-4,
    "importance_sampling_level": "sequence",
    "use_frozen_reference_for_kl": False,
}
"""GRPO with one ratio per sample, the geometric mean of its tokens' ratios, and a clip that is as
narrow as such a ratio requires. No KL term.

Source: https://arxiv.org/abs/2507.18071, equations 5 to 7, the clip in section 5.1.
"""

CISPO: Final[Mapping[str, Any]] = {
    **REINFORCE,
    "whiten_over": "group",
    "importance_sampling_cap": 5.0,
    "use_frozen_reference_for_kl": False,
}
"""REINFORCE with the ratio as a weight without gradient, clipped from above: no token loses its
gradient. No KL term.

Source: MiniMax-M1, https://arxiv.org/abs/2506.13585, equations 4 and 5; the bound 5, ScaleRL,
https://arxiv.org/abs/2510.13786.
"""

RLOO: Final[Mapping[str, Any]] = {
    **REINFORCE,
    "advantage_baseline": "leave_one_out",
    "whiten_advantages": False,
    "loss_agg_mode": "sequence_sum",
    "kl_estimator": "k1",
    "kl_in": "reward",
}
"""REINFORCE on whole samples: the mean of the others as the baseline, the sum over a sample's
tokens as its log-probability, and the KL, of which k1 is an unbiased estimate, as a part of the
reward.

Source: Back to Basics, https://arxiv.org/abs/2402.14740, sections 2 and 3.
"""

OBJECTIVES: Final[Mapping[str, Mapping[str, Any]]] = {
    "grpo": GRPO,
    "dr_grpo": DR_GRPO,
    "dapo": DAPO,
    "gspo": GSPO,
    "cispo": CISPO,
    "rloo": RLOO,
    "reinforce": REINFORCE,
}

OBJECTIVE_KEYS: Final = (*REINFORCE, "clip_range_high")
"""The keys of `rlaif` that an objective sets where they are null."""


def fill_in_objective(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The section `rlaif` with its objective's value under each of OBJECTIVE_KEYS that is absent or
    null.

    `clip_range_high` without a value of its own is `clip_range`. Values are not checked here: an
    unknown objective stays as it is, beside the default's options, and is reported once by the
    validation that follows.
    """
    name = keys.get("objective")
    options = OBJECTIVES.get(name, REINFORCE) if isinstance(name, str) else REINFORCE
    missing = {key: value for key, value in options.items() if keys.get(key) is None}
    filled = {**keys, **missing}
    if filled.get("clip_range_high") is None:
        low = filled["clip_range"]
        filled["clip_range_high"] = (
            low if isinstance(low, int | float) else REINFORCE["clip_range"]
        )  # no second error for it
    return filled


def overridden_options(section: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys of a filled section `rlaif` that differ from its objective's: its value and the
    objective's.
    """
    expected = fill_in_objective({"objective": section["objective"]})
    return {
        key: (section[key], expected[key])
        for key in OBJECTIVE_KEYS
        if section[key] != expected[key]
    }
