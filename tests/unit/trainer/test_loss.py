"""The loss by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.loss import TokenCounts, kl_term, policy_term


def test_policy_term_is_a_mean_over_the_tokens_that_have_a_say():
    log_probs = torch.tensor([-1.0, -2.0, -3.0, -4.0], requires_grad=True)
    says = torch.tensor([2.0, 2.0, -1.0, 0.0])
    loss = policy_term(log_probs, says, TokenCounts(policy=3, kl=4))
    assert loss.item() == pytest.approx((2 * 1 + 2 * 2 - 1 * 3) / 3)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, torch.tensor([-2 / 3, -2 / 3, 1 / 3, 0.0]))


def test_kl_term_is_k3():
    log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    reference = torch.tensor([-1.5, -2.0])
    loss = kl_term(log_probs, reference, TokenCounts(policy=0, kl=2))
    assert loss.item() == pytest.approx((math.exp(-0.5) + 0.5 - 1) / 2)
    loss.backward()
    torch.testing.assert_close(log_probs.grad, torch.tensor([(1 - math.exp(-0.5)) / 2, 0.0]))


def test_k3_is_an_unbiased_estimate_of_the_kl():
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    estimate = sum(
        p * kl_term(p.log()[None], q.log()[None], TokenCounts(policy=0, kl=1))
        for p, q in zip(policy, reference, strict=True)
    )
    torch.testing.assert_close(estimate, (policy * (policy / reference).log()).sum())
