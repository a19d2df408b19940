"""The policy term by hand."""

from __future__ import annotations

import math

import pytest
import torch

from markbook.config.settings import Rlaif
from markbook.trainer.objective.loss import (
    LossDenominators,
    LossInputs,
    importance_weights,
    limited_tokens,
    log_ratios,
    policy_loss,
    sample_count,
    token_weight,
)

REINFORCE, PPO = Rlaif(loss="reinforce"), Rlaif(loss="ppo_clip", clip_range=0.2)


def tokens(
    log_probs,
    advantages,
    sampled=None,
    weights=None,
    importance=None,
    samples=None,
    rlaif=REINFORCE,
):
    """`samples`: of each token, the number of its sample; each one its own where none are given."""
    now = torch.tensor(log_probs, requires_grad=True)
    then = now.detach().clone() if sampled is None else torch.tensor(sampled)
    weights, importance = (
        torch.ones(len(log_probs)) if values is None else torch.tensor(values)
        for values in (weights, importance)
    )
    index = torch.arange(len(log_probs)) if samples is None else torch.tensor(samples)
    ratio = log_ratios(now, then, index, rlaif)
    return LossInputs(now, then, torch.tensor(advantages), weights, importance, ratio)


def test_reinforce_is_a_mean_over_the_tokens_that_have_a_say():
    batch = tokens([-1.0, -2.0, -3.0, -4.0], [2.0, 2.0, -1.0, 0.0])
    loss = policy_loss(batch, LossDenominators(policy=3, kl=4), REINFORCE)
    assert loss.item() == pytest.approx((2 * 1 + 2 * 2 - 1 * 3) / 3)
    loss.backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-2 / 3, -2 / 3, 1 / 3, 0.0]))


def test_with_the_mean_over_samples_a_long_sample_weighs_no_more_than_a_short_one():
    # one sample of three tokens, one of a single token
    batch = tokens(
        [-1.0, -2.0, -3.0, -4.0], [1.0, 1.0, 1.0, -1.0], weights=[1 / 3, 1 / 3, 1 / 3, 1.0]
    )
    loss = policy_loss(batch, LossDenominators(policy=2, kl=2), REINFORCE)
    assert loss.item() == pytest.approx((2 - 4) / 2)
    loss.backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-1 / 6, -1 / 6, -1 / 6, 1 / 2]))


def test_ppo_clips_what_has_gone_far_enough_and_only_that():
    # ratios 1.5 (good: clipped), 0.5 (bad: clipped), 1.5 (bad), 0.5 (good), 1.1 (good)
    ratios, says = [1.5, 0.5, 1.5, 0.5, 1.1], [1.0, -1.0, -1.0, 1.0, 2.0]
    sampled = [-1.0 - math.log(ratio) for ratio in ratios]
    batch = tokens([-1.0] * 5, says, sampled)
    loss = policy_loss(batch, LossDenominators(policy=5, kl=5), PPO)
    assert loss.item() == pytest.approx(-(1.2 - 0.8 - 1.5 + 0.5 + 2.2) / 5)
    loss.backward()
    # d gain / d log-prob = ratio x advantage where nothing is clipped
    torch.testing.assert_close(
        batch.log_probs.grad, torch.tensor([0.0, 0.0, 1.5 / 5, -0.5 / 5, -2.2 / 5])
    )
    assert limited_tokens(batch, PPO) == 2


def test_ppo_pulls_like_reinforce_where_nothing_has_moved():
    grads = []
    for kind in ("reinforce", "ppo_clip"):
        batch = tokens([-1.0, -2.0, -0.5], [1.5, -0.5, 0.25])
        policy_loss(batch, LossDenominators(policy=3, kl=3), Rlaif(loss=kind)).backward()
        grads.append(batch.log_probs.grad)
    torch.testing.assert_close(*grads)
    assert limited_tokens(batch, PPO) == 0


def test_a_token_of_an_earlier_policy_stands_for_as_many_as_it_is_now_likelier_up_to_the_cap():
    # ratios 0.5, 1, 1.9, 2 and 3
    ratios = torch.tensor([0.5, 1.0, 1.9, 2.0, 3.0])
    now = torch.full((5,), -1.0, requires_grad=True)
    found = importance_weights(now + 1.0 + ratios.log(), 2.0)
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0, 1.9, 2.0, 2.0]))
    assert not found.requires_grad


def test_reinforce_pulls_a_token_as_hard_as_it_weighs():
    batch = tokens([-1.0, -2.0, -3.0], [2.0, -1.0, 0.0], importance=[0.5, 2.0, 2.0])
    policy_loss(batch, LossDenominators(policy=2, kl=3), REINFORCE).backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-0.5 * 2 / 2, 2.0 * 1 / 2, 0.0]))
    assert limited_tokens(batch, REINFORCE) == 1  # the third one has no say


def test_ppo_has_a_ratio_of_its_own():
    batch = tokens([-1.0], [1.0], importance=[0.5])
    assert policy_loss(batch, LossDenominators(policy=1, kl=1), PPO).item() == pytest.approx(-1.0)


def test_the_clip_may_be_wider_upwards():
    # ratios 1.25 and 1.3 (good), 0.75 (bad): 1.28 above, 0.8 below
    wide = Rlaif(loss="ppo_clip", clip_range=0.2, clip_range_high=0.28)
    sampled = [-1.0 - math.log(ratio) for ratio in (1.25, 1.3, 0.75)]
    batch = tokens([-1.0] * 3, [1.0, 1.0, -1.0], sampled, rlaif=wide)
    loss = policy_loss(batch, LossDenominators(policy=3, kl=3), wide)
    assert loss.item() == pytest.approx(-(1.25 + 1.28 - 0.8) / 3)
    loss.backward()
    torch.testing.assert_close(batch.log_probs.grad, torch.tensor([-1.25 / 3, 0.0, 0.0]))
    assert limited_tokens(batch, wide) == 2
    assert limited_tokens(batch, PPO) == 3


def test_a_ratio_per_sample_is_the_geometric_mean_of_its_tokens():
    by_sample = Rlaif(importance_sampling_level="sequence")
    # log ratios 0.5, -0.1, 0.2 of one sample, 0.3 of another
    found = log_ratios(
        torch.tensor([-1.0, -2.0, -1.0, -0.5]), torch.tensor([-1.5, -1.9, -1.2, -0.8]),
        torch.tensor([0, 0, 0, 1]), by_sample,
    )  # fmt: skip
    torch.testing.assert_close(found, torch.tensor([0.2, 0.2, 0.2, 0.3]))


def test_a_sample_is_clipped_as_a_whole():
    gspo = Rlaif(objective="gspo", clip_range=0.2, clip_range_high=0.25)
    log_ratio = [0.5, -0.1, 0.2, 0.3]  # mean 0.2: ratio 1.22, inside; 1.35 alone, outside
    weights = [token_weight(3, gspo, 8)] * 3 + [token_weight(1, gspo, 8)]
    batch = tokens(
        [0.0] * 4, [1.0] * 4, [-value for value in log_ratio], weights, None, [0, 0, 0, 1], gspo
    )
    loss = policy_loss(batch, LossDenominators(policy=2, kl=2), gspo)
    assert loss.item() == pytest.approx(-(math.exp(0.2) + 1.25) / 2)
    loss.backward()
    # each token moves the mean of three by a third of its own
    torch.testing.assert_close(
        batch.log_probs.grad, torch.tensor([-math.exp(0.2) / 3 / 2] * 3 + [0.0])
    )
    assert limited_tokens(batch, gspo) == 1


@pytest.mark.parametrize(
    ("mode", "weight", "count"),
    [("token", 1.0, 5), ("sequence", 0.2, 1), ("sequence_sum", 1.0, 1), ("constant", 0.125, 1)],
)
def test_what_a_token_of_five_weighs(mode, weight, count):
    rlaif = Rlaif(loss_agg_mode=mode)
    assert token_weight(5, rlaif, max_new_tokens=8) == weight
    assert sample_count(5, rlaif) == count
