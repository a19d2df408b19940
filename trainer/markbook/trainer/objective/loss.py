"""The policy term: REINFORCE or PPO's clipped ratio, mean over tokens or samples. Pure functions on flat tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Loss = Literal["reinforce", "ppo_clip"]


@dataclass(frozen=True, slots=True)
class LossDenominators:
    """Denominators of the whole step, so that micro-batches add up to the full batch's gradient.

    Tokens where every token counts the same, samples where every sample does.
    """

    policy: int
    kl: int


@dataclass(frozen=True, slots=True)
class LossInputs:
    """The tokens of one micro-batch, sample after sample, each (N,).

    `log_probs`: now, with gradient. `sampled`: under the policy that wrote them. `advantages`: of their sample, 0 for
    samples outside the policy term, which its total leaves out. `weights`: 1, or for the mean over samples 1 over the
    tokens of their sample. `importance`: 1 for a fresh sample, else `importance_weights`.
    """

    log_probs: Tensor
    sampled: Tensor
    advantages: Tensor
    weights: Tensor
    importance: Tensor


def importance_weights(log_probs: Tensor, sampled: Tensor, cap: float) -> Tensor:
    """min(r, cap), r = now / when sampled, (N,) without gradient: for tokens of a policy some updates ago.

    With them a mean over these tokens stands for one over tokens of the policy of now. Each token has its own ratio,
    not the product over those before it; and what the cap takes away is a bias, the price of a variance with a bound.

    Source: Ionides 2008, Truncated importance sampling, https://doi.org/10.1198/106186008X320456; rho in IMPALA,
    https://arxiv.org/abs/1802.01561; token by token for language models, https://fengyao.notion.site/off-policy-rl.
    """
    return (log_probs.detach() - sampled).exp().clamp(max=cap)


def policy_loss(tokens: LossInputs, totals: LossDenominators, loss: Loss, clip_range: float) -> Tensor:
    """-sum(weight x gain) / total of the step.

    reinforce: gain = importance x advantage x log-prob. For one update a batch.
    ppo_clip: gain = min(r x advantage, clip(r, 1 - clip_range, 1 + clip_range) x advantage), r = now / when sampled.
    Its gradient is REINFORCE's where r = 1, and none where the ratio has gone further than the clip.

    Source: REINFORCE, Williams 1992; PPO, https://arxiv.org/abs/1707.06347; mean over tokens, DAPO,
    https://arxiv.org/abs/2503.14476; mean over samples, DeepSeekMath, https://arxiv.org/abs/2402.03300.
    """
    if loss == "reinforce":
        gain = tokens.importance * tokens.advantages * tokens.log_probs
    else:
        ratio = (tokens.log_probs - tokens.sampled).exp()
        clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
        gain = (ratio * tokens.advantages).minimum(clipped * tokens.advantages)
    return -(gain * tokens.weights).sum() / max(totals.policy, 1)


def truncated_tokens(tokens: LossInputs, cap: float) -> Tensor:
    """Number () of tokens with a say whose importance the cap has made smaller."""
    return ((tokens.importance == cap) & (tokens.advantages != 0)).sum()


def clipped_tokens(tokens: LossInputs, clip_range: float) -> Tensor:
    """Number () of tokens whose gradient the clip has taken away."""
    ratio = (tokens.log_probs - tokens.sampled).exp()
    up = (ratio > 1 + clip_range) & (tokens.advantages > 0)
    down = (ratio < 1 - clip_range) & (tokens.advantages < 0)
    return (up | down).sum()
