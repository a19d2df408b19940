"""The loss: REINFORCE over completion tokens plus KL to the reference. Pure functions on flat token tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Denominators of the whole step, so that micro-batches add up to the full batch's gradient."""

    policy: int
    kl: int


def policy_term(log_probs: Tensor, advantages: Tensor, counts: TokenCounts) -> Tensor:
    """-sum(advantage x log-prob) / tokens in the policy term of the whole step.

    `log_probs` (N,), `advantages` (N,): each token's sample's advantage, 0 for samples outside the policy term, which
    the count leaves out. One update a batch of fresh samples, so no importance ratio is needed.
    Source: REINFORCE, Williams 1992; token mean, DAPO, https://arxiv.org/abs/2503.14476.
    """
    return -(advantages * log_probs).sum() / max(counts.policy, 1)


def kl_term(log_probs: Tensor, reference: Tensor, counts: TokenCounts) -> Tensor:
    """sum(k3) / tokens in the KL term of the whole step; both inputs (N,), `reference` without gradient.

    k3 = r - log r - 1 with log r = reference - policy: unbiased for KL(policy || reference), never negative.
    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html.
    """
    log_ratio = reference - log_probs
    return (log_ratio.exp() - log_ratio - 1).sum() / max(counts.kl, 1)
