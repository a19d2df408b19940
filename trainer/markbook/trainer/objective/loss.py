"""The policy term: REINFORCE or PPO's clipped ratio, and how tokens add up to it.

Pure functions on flat tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markbook.config.settings import Rlaif


@dataclass(frozen=True, slots=True)
class LossDenominators:
    """Denominators of the whole step, so that micro-batches add up to the full batch's gradient.

    Sums of `sample_count`, over the samples of each term.
    """

    policy: int
    kl: int


@dataclass(frozen=True, slots=True)
class LossInputs:
    """The tokens of one micro-batch, sample after sample, each (N,).

    `log_probs`: now, with gradient. `sampled`: under the policy that wrote them. `advantages`: of
    their sample, 0 for samples outside the policy term, which its total leaves out. `weights`:
    `token_weight` of their sample. `importance`: 1 for a fresh sample, else `importance_weights`.
    `log_ratio`: `log_ratios`, with gradient.
    """

    log_probs: Tensor
    sampled: Tensor
    advantages: Tensor
    weights: Tensor
    importance: Tensor
    log_ratio: Tensor


def token_weight(length: int, rlaif: Rlaif, max_new_tokens: int) -> float:
    """What each token of a sample of `length` tokens weighs in sums over the step, by
    `loss_agg_mode`.

    token: the mean over tokens. sequence: over samples, of each one's mean. sequence_sum: over
    samples, of each one's sum, the log-probability of the whole sample. constant: that sum over
    `max_new_tokens`, so that no token's weight depends on the length of its sample.

    Source: token, DAPO, https://arxiv.org/abs/2503.14476; sequence, DeepSeekMath,
    https://arxiv.org/abs/2402.03300; sequence_sum, RLOO, https://arxiv.org/abs/2402.14740;
    constant, Dr. GRPO, https://arxiv.org/abs/2503.20783.
    """
    if rlaif.loss_agg_mode == "sequence":
        return 1 / length
    return 1 / max_new_tokens if rlaif.loss_agg_mode == "constant" else 1.0


def sample_count(length: int, rlaif: Rlaif) -> int:
    """What a sample adds to the denominator of such a sum: its tokens where the mean is over
    tokens, else 1.
    """
    return length if rlaif.loss_agg_mode == "token" else 1


def log_ratios(log_probs: Tensor, sampled: Tensor, sample_index: Tensor, rlaif: Rlaif) -> Tensor:
    """log of the probability now over that when sampled, (N,), with the gradient of `log_probs`.

    token: of each token. sequence: the mean over the sample's tokens, for each of them;
    `sample_index` (N,) numbers the samples from 0. Its exponential is the geometric mean of the
    tokens' ratios.

    Source of sequence: GSPO, https://arxiv.org/abs/2507.18071, equation 7.
    """
    by_token = log_probs - sampled
    if rlaif.importance_sampling_level == "token":
        return by_token
    # as many places as tokens: the number of samples would have to be read from the device
    zeros = torch.zeros_like(by_token)
    sums = zeros.index_add(0, sample_index, by_token)
    lengths = zeros.index_add(0, sample_index, torch.ones_like(by_token))
    return (sums / lengths.clamp(min=1))[sample_index]


def importance_weights(log_ratio: Tensor, cap: float) -> Tensor:
    """min(r, cap), r the exponential of `log_ratio`, (N,) without gradient: for tokens of a policy
    some updates ago.

    With them a mean over these tokens stands for one over tokens of the policy of now. Each token
    has its own ratio, not the product over those before it; and what the cap takes away is a bias,
    the price of a variance with a bound.

    Source: Ionides 2008, Truncated importance sampling, https://doi.org/10.1198/106186008X320456;
    rho in IMPALA, https://arxiv.org/abs/1802.01561; token by token for language models,
    https://fengyao.notion.site/off-policy-rl; as an objective of its own, CISPO,
    https://arxiv.org/abs/2506.13585.
    """
    return log_ratio.detach().exp().clamp(max=cap)


def policy_loss(tokens: LossInputs, totals: LossDenominators, rlaif: Rlaif) -> Tensor:
    """-sum(weight x gain) / total of the step, by `rlaif.loss`.

    reinforce: gain = importance x advantage x log-prob.
    ppo_clip: gain = min(r x advantage, clip(r, 1 - clip_range, 1 + clip_range_high) x advantage), r
    = now / when sampled. Its gradient is REINFORCE's where r = 1, and none where the ratio has gone
    further than the clip.

    Source: REINFORCE, Williams 1992; PPO, https://arxiv.org/abs/1707.06347; a clip of its own
    upwards, DAPO, https://arxiv.org/abs/2503.14476; the objectives by name,
    `markbook.config.settings.objectives`.
    """
    if rlaif.loss == "reinforce":
        gain = tokens.importance * tokens.advantages * tokens.log_probs
    else:
        ratio = tokens.log_ratio.exp()
        clipped = ratio.clamp(1 - rlaif.clip_range, 1 + rlaif.clip_range_high)
        gain = (ratio * tokens.advantages).minimum(clipped * tokens.advantages)
    return -(gain * tokens.weights).sum() / max(totals.policy, 1)


def limited_tokens(tokens: LossInputs, rlaif: Rlaif) -> Tensor:
    """Number () of tokens in the policy term that a bound limits: ppo_clip, those whose gradient
    the clip has removed; reinforce, those whose importance the cap has reduced.
    """
    if rlaif.loss == "reinforce":
        return (
            (tokens.importance == rlaif.importance_sampling_cap) & (tokens.advantages != 0)
        ).sum()
    ratio = tokens.log_ratio.exp()
    up = (ratio > 1 + rlaif.clip_range_high) & (tokens.advantages > 0)
    down = (ratio < 1 - rlaif.clip_range) & (tokens.advantages < 0)
    return (up | down).sum()
