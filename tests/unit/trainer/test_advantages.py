"""Advantages by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.advantages import advantages, zero_variance_groups

NAN = math.nan


def table(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def assert_values(found: torch.Tensor, *rows: list[float]) -> None:
    torch.testing.assert_close(found, table(*rows), rtol=0, atol=1e-12)


def test_group_baseline_then_whitening_over_the_batch():
    # differences -0.3 0.3 | -0.1 0.1; mean square (0.09 + 0.09 + 0.01 + 0.01) / 4 = 0.05
    deviation = math.sqrt(0.05)
    got = advantages(table([0.2, 0.8], [0.5, 0.7]), normalize=True)
    assert_values(got.values, [-0.3 / deviation, 0.3 / deviation], [-0.1 / deviation, 0.1 / deviation])
    assert got.in_policy.all()
    assert got.in_loss.all()


def test_an_unscored_sample_leaves_baseline_deviation_and_loss():
    with_hole = advantages(table([0.2, NAN, 0.8], [0.5, 0.7, NAN]), normalize=True)
    without = advantages(table([0.2, 0.8], [0.5, 0.7]), normalize=True)
    (a, b), (c, d) = without.values.tolist()
    assert_values(with_hole.values, [a, 0, b], [c, d, 0])
    assert with_hole.in_policy.tolist() == [[True, False, True], [True, True, False]]
    assert with_hole.in_loss.tolist() == with_hole.in_policy.tolist()


def test_a_group_with_one_scored_sample_has_no_baseline():
    got = advantages(table([0.9, NAN], [0.0, 1.0]), normalize=True)
    assert_values(got.values, [0, 0], [-1, 1])
    assert got.in_policy.tolist() == [[False, False], [True, True]]
    assert got.in_loss.tolist() == [[True, False], [True, True]]


def test_a_group_without_variance_has_no_say_and_no_weight_in_the_deviation():
    third = 0.1 + 0.2  # 0.30000000000000004: equal marks stay equal whatever their mean rounds to
    got = advantages(table([third, third, third], [0.0, 0.5, 1.0]), normalize=True)
    deviation = math.sqrt((0.25 + 0 + 0.25) / 3)
    assert_values(got.values, [0, 0, 0], [-0.5 / deviation, 0, 0.5 / deviation])
    assert got.in_policy.tolist() == [[False] * 3, [True] * 3]
    assert got.in_loss.all()


def test_strictly_below_the_threshold_leaves_the_loss_but_not_the_baseline():
    rewards = table([0.3, 0.5, 0.7])
    got = advantages(rewards, normalize=True, threshold=0.5)
    deviation = math.sqrt((0.04 + 0 + 0.04) / 3)
    assert_values(got.values, [0, 0, 0.2 / deviation])  # 0.7 - mean(0.3, 0.5, 0.7), not 0.7 - mean(0.5, 0.7)
    assert got.in_policy.tolist() == got.in_loss.tolist() == [[False, True, True]]
    assert advantages(rewards, normalize=True, threshold=0.0).in_loss.all()


def test_without_normalization_the_advantage_is_the_reward():
    got = advantages(table([0.2, NAN], [0.6, 0.6]), normalize=False, threshold=0.3)
    assert_values(got.values, [0, 0], [0.6, 0.6])
    assert got.in_policy.tolist() == got.in_loss.tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("rewards", [table([NAN, NAN]), table([0.4, 0.4]), table([0.4, NAN])])
def test_nothing_to_learn_from(rewards):
    got = advantages(rewards, normalize=True)
    assert not got.in_policy.any()
    assert_values(got.values, [0, 0])


def test_groups_without_variance_are_counted():
    assert zero_variance_groups(table([0.4, 0.4], [0.4, NAN], [NAN, NAN], [0.4, 0.5])) == 1
