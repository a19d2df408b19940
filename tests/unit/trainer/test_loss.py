"""The policy term by hand."""

from __future__ import annotations

import math

import pytest
import torch

from markbook.trainer.objective.loss import (
    LossDenominators,
    LossInputs,
    clipped_tokens,
    importance_weights,
    policy_loss,
    truncated_tokens,
)


def tokens(log_probs, advantages, sampled=None, weights=None, importance=None):
    now = torch.tensor(log_probs, requires_grad=True)
    then = now.detach().clone() if sampled is None else torch.tensor(sampled)
    weights, importance = (
        torch.ones(len(log_probs)) if values is None else torch.tensor(values) for values in (weights, importance)
    )
    return LossInputs(now, then, torch.tensor(advantages), weights, importance)


def test_reinforce_is_a_mean_over_the_tokens_that_have_a_say():
    batch = tokens([-1.0, -2.0, -3.0, -4.0], [2.0, 2.0, -1.0, 0.0])
    loss = policy_loss(batch, LossDenominators(policy=3, kl=4), "reinforce", 0.2)
    assert loss.item() == pytest.approx((2 * 1 + 2 * 2 - 1 * 3) / 3)
    loss.backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-2 / 3, -2 / 3, 1 / 3, 0.0]))


def test_with_the_mean_over_samples_a_long_sample_weighs_no_more_than_a_short_one():
    # one sample of three tokens, one of a single token
    batch = tokens([-1.0, -2.0, -3.0, -4.0], [1.0, 1.0, 1.0, -1.0], weights=[1 / 3, 1 / 3, 1 / 3, 1.0])
    loss = policy_loss(batch, LossDenominators(policy=2, kl=2), "reinforce", 0.2)
    assert loss.item() == pytest.approx((2 - 4) / 2)
    loss.backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-1 / 6, -1 / 6, -1 / 6, 1 / 2]))


def test_ppo_clips_what_has_gone_far_enough_and_only_that():
    # ratios 1.5 (good: clipped), 0.5 (bad: clipped), 1.5 (bad), 0.5 (good), 1.1 (good)
    ratios, says = [1.5, 0.5, 1.5, 0.5, 1.1], [1.0, -1.0, -1.0, 1.0, 2.0]
    sampled = [-1.0 - math.log(ratio) for ratio in ratios]
    batch = tokens([-1.0] * 5, says, sampled)
    loss = policy_loss(batch, LossDenominators(policy=5, kl=5), "ppo_clip", 0.2)
    assert loss.item() == pytest.approx(-(1.2 - 0.8 - 1.5 + 0.5 + 2.2) / 5)
    loss.backward()
    # d gain / d log-prob = ratio x advantage where nothing is clipped
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([0.0, 0.0, 1.5 / 5, -0.5 / 5, -2.2 / 5]))
    assert clipped_tokens(batch, 0.2) == 2


def test_ppo_pulls_like_reinforce_where_nothing_has_moved():
    grads = []
    for kind in ("reinforce", "ppo_clip"):
        batch = tokens([-1.0, -2.0, -0.5], [1.5, -0.5, 0.25])
        policy_loss(batch, LossDenominators(policy=3, kl=3), kind, 0.2).backward()
        grads.append(batch.log_probs.grad)
    torch.testing.assert_close(*grads)
    assert clipped_tokens(batch, 0.2) == 0


def test_a_token_of_an_earlier_policy_stands_for_as_many_as_it_is_now_likelier_up_to_the_cap():
    # ratios 0.5, 1, 1.9, 2 and 3
    ratios = torch.tensor([0.5, 1.0, 1.9, 2.0, 3.0])
    now = torch.full((5,), -1.0, requires_grad=True)
    found = importance_weights(now, -1.0 - ratios.log(), 2.0)
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0, 1.9, 2.0, 2.0]))
    assert not found.requires_grad


def test_reinforce_pulls_a_token_as_hard_as_it_weighs():
    batch = tokens([-1.0, -2.0, -3.0], [2.0, -1.0, 0.0], importance=[0.5, 2.0, 2.0])
    policy_loss(batch, LossDenominators(policy=2, kl=3), "reinforce", 0.2).backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-0.5 * 2 / 2, 2.0 * 1 / 2, 0.0]))
    assert truncated_tokens(batch, 2.0) == 1  # the third one has no say


def test_ppo_has_a_ratio_of_its_own():
    batch = tokens([-1.0], [1.0], importance=[0.5])
    assert policy_loss(batch, LossDenominators(policy=1, kl=1), "ppo_clip", 0.2).item() == pytest.approx(-1.0)
