"""KL(policy || reference): its estimators token by token, its term in the loss, its adaptive
coefficient. Pure.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]

MAX_ERROR = 0.2


def estimate(log_probs: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    """Estimates (N,), nats per token, from the log-probabilities (N,) of the tokens drawn from the
    policy.

    With log r = reference - policy: k1 = -log r, unbiased, may be negative, and in a loss without
    effect on average; k2 = (log r)^2 / 2, biased, but its gradient is on average that of the KL; k3
    = r - log r - 1, unbiased and never negative.

    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html; the gradients,
    https://arxiv.org/abs/2506.09477.
    """
    log_ratio = reference - log_probs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return log_ratio.exp() - log_ratio - 1


def kl_term(kl: Tensor, weights: Tensor, total: int) -> Tensor:
    """sum(weight x KL) / total of the whole step, `kl` and `weights` (N,), as in LossInputs and
    LossDenominators.
    """
    return (kl * weights).sum() / max(total, 1)


def update_kl_coef(coefficient: float, kl: float, target: float, gain: float) -> float:
    """The coefficient for the next step: more where `kl` (nats per token) is above `target`, less
    below.

    A proportional controller in the logarithm: times 1 + gain x error, error = kl / target - 1
    within +-0.2. Source: Ziegler et al. 2019, https://arxiv.org/abs/1909.08593, section 2.2.
    """
    error = min(max(kl / target - 1, -MAX_ERROR), MAX_ERROR)
    return coefficient * (1 + gain * error)
