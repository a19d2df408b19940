"""Advantages by hand."""

from __future__ import annotations

import math

import pytest
import torch

from markbook.config.settings import Rlaif
from markbook.trainer.objective.advantages import Advantages, why_skipped, zero_variance
from markbook.trainer.objective.advantages import compute_advantages as advantages_by

NAN = math.nan


def table(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def advantages(
    marks: torch.Tensor,
    penalties: torch.Tensor | None = None,
    truncated: torch.Tensor | None = None,
    **options: object,
) -> Advantages:
    return advantages_by(marks, Rlaif.model_validate(options), penalties, truncated)


def assert_values(found: torch.Tensor, *rows: list[float]) -> None:
    torch.testing.assert_close(found, table(*rows), rtol=0, atol=1e-12)


def test_group_baseline_then_whitening_over_the_batch():
    # differences -0.3 0.3 | -0.1 0.1; mean square (0.09 + 0.09 + 0.01 + 0.01) / 4 = 0.05
    deviation = math.sqrt(0.05)
    got = advantages(table([0.2, 0.8], [0.5, 0.7]))
    assert_values(
        got.values, [-0.3 / deviation, 0.3 / deviation], [-0.1 / deviation, 0.1 / deviation]
    )
    assert got.in_policy.all()
    assert got.in_loss.all()


def test_an_unscored_sample_leaves_baseline_deviation_and_policy_and_keeps_its_kl():
    with_hole = advantages(table([0.2, NAN, 0.8], [0.5, 0.7, NAN]))
    without = advantages(table([0.2, 0.8], [0.5, 0.7]))
    (a, b), (c, d) = without.values.tolist()
    assert_values(with_hole.values, [a, 0, b], [c, d, 0])
    assert with_hole.in_policy.tolist() == [[True, False, True], [True, True, False]]
    assert with_hole.in_loss.all()


def test_a_group_with_one_scored_sample_has_no_baseline():
    got = advantages(table([0.9, NAN], [0.0, 1.0]))
    assert_values(got.values, [0, 0], [-1, 1])
    assert got.in_policy.tolist() == [[False, False], [True, True]]
    assert got.in_loss.all()


def test_a_group_without_variance_has_no_say_and_no_weight_in_the_deviation():
    third = 0.1 + 0.2  # 0.30000000000000004: equal marks stay equal whatever their mean rounds to
    got = advantages(table([third, third, third], [0.0, 0.5, 1.0]))
    deviation = math.sqrt((0.25 + 0 + 0.25) / 3)
    assert_values(got.values, [0, 0, 0], [-0.5 / deviation, 0, 0.5 / deviation])
    assert got.in_policy.tolist() == [[False] * 3, [True] * 3]
    assert got.in_loss.all()


def test_strictly_below_the_threshold_leaves_the_loss_but_not_the_baseline():
    rewards = table([0.3, 0.5, 0.7])
    got = advantages(rewards, reward_threshold=0.5)
    deviation = math.sqrt((0.04 + 0 + 0.04) / 3)
    assert_values(
        got.values, [0, 0, 0.2 / deviation]
    )  # 0.7 - mean(0.3, 0.5, 0.7), not 0.7 - mean(0.5, 0.7)
    assert got.in_policy.tolist() == got.in_loss.tolist() == [[False, True, True]]
    assert advantages(rewards, reward_threshold=0.0).in_loss.all()


def test_without_normalization_the_advantage_is_the_reward():
    got = advantages(
        table([0.2, NAN], [0.6, 0.6]), use_advantage_normalization=False, reward_threshold=0.3
    )
    assert_values(got.values, [0, 0], [0.6, 0.6])
    assert got.in_policy.tolist() == [[False, False], [True, True]]
    assert got.in_loss.tolist() == [[False, True], [True, True]]


def test_leave_one_out_takes_the_mean_of_the_others():
    # 0.2 - (0.5 + 0.8) / 2 = -0.45, 0.5 - (0.2 + 0.8) / 2 = 0, 0.45 | 0.1 - 0.5, 0.5 - 0.1
    options = {"advantage_baseline": "leave_one_out", "whiten_advantages": False}
    got = advantages(table([0.2, 0.5, 0.8], [0.1, NAN, 0.5]), **options)
    assert_values(got.values, [-0.45, 0, 0.45], [-0.4, 0, 0.4])
    assert not advantages(table([0.2, NAN, NAN]), **options).in_policy.any()


def test_leave_one_out_is_whitened_like_the_mean():
    # differences -0.4 0.4 | -0.45 0 0.45, without the hole
    deviation = math.sqrt((2 * 0.16 + 2 * 0.2025) / 5)
    got = advantages(table([0.1, NAN, 0.5], [0.2, 0.5, 0.8]), advantage_baseline="leave_one_out")
    assert_values(
        got.values, [-0.4 / deviation, 0, 0.4 / deviation], [-0.45 / deviation, 0, 0.45 / deviation]
    )


def test_without_whitening_the_advantage_is_the_difference():
    assert_values(
        advantages(table([0.2, 0.8], [0.5, 0.7]), whiten_advantages=False).values,
        [-0.3, 0.3],
        [-0.1, 0.1],
    )


def test_the_weight_of_the_reward_is_whitened_away_and_nowhere_else():
    marks = table([0.2, 0.8], [0.5, 0.7])
    assert_values(advantages(marks, reward_weight=3.0).values, *advantages(marks).values.tolist())
    got = advantages(marks, reward_weight=3.0, whiten_advantages=False)
    assert_values(got.values, [-0.9, 0.9], [-0.3, 0.3])
    assert_values(
        advantages(marks, reward_weight=3.0, use_advantage_normalization=False).values,
        *(3 * marks).tolist(),
    )


def test_a_penalty_is_taken_from_the_weighted_reward_before_the_baseline():
    # rewards 2 x 0.5 - 0.1, 2 x 0.5 - 0.3: equal marks, and yet something to say; unscored stays
    # unscored
    got = advantages(
        table([0.5, 0.5, NAN]), table([0.1, 0.3, 0.7]), reward_weight=2.0, whiten_advantages=False
    )
    assert_values(got.values, [0.1, -0.1, 0])
    assert got.in_policy.tolist() == [[True, True, False]]


def test_the_threshold_looks_at_the_mark_not_at_the_reward():
    got = advantages(
        table([0.4, 0.6]),
        table([0.0, 0.5]),
        reward_threshold=0.5,
        use_advantage_normalization=False,
    )
    assert got.in_loss.tolist() == [[False, True]]
    assert_values(got.values, [0, 0.1])


@pytest.mark.parametrize("rewards", [table([NAN, NAN]), table([0.4, 0.4]), table([0.4, NAN])])
def test_nothing_to_learn_from(rewards):
    got = advantages(rewards)
    assert not got.in_policy.any()
    assert_values(got.values, [0, 0])


def test_groups_without_variance_are_counted():
    assert zero_variance(table([0.4, 0.4], [0.4, NAN], [NAN, NAN], [0.4, 0.5])).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_whitening_over_the_group_is_by_its_own_deviation():
    # 0.1, 0.5: sample deviation sqrt(0.08) = 0.2828; 0.2, 0.5, 0.8: 0.3; the hole counts nowhere
    got = advantages(table([0.1, NAN, 0.5], [0.2, 0.5, 0.8], [0.4, 0.4, 0.4]), whiten_over="group")
    first, second = math.sqrt(0.08) + 1e-4, 0.3 + 1e-4
    assert_values(
        got.values, [-0.2 / first, 0, 0.2 / first], [-0.3 / second, 0, 0.3 / second], [0, 0, 0]
    )
    assert got.in_policy.tolist() == [[True, False, True], [True] * 3, [False] * 3]
    assert_values(advantages(table([0.4, NAN]), whiten_over="group").values, [0, 0])


def test_the_deviation_of_the_group_is_that_of_its_rewards_whatever_the_baseline():
    got = advantages(
        table([0.2, 0.5, 0.8]), whiten_over="group", advantage_baseline="leave_one_out"
    )
    assert_values(got.values, [-0.45 / (0.3 + 1e-4), 0, 0.45 / (0.3 + 1e-4)])
    unwhitened = advantages(table([0.2, 0.5, 0.8]), whiten_over="group", whiten_advantages=False)
    assert_values(unwhitened.values, [-0.3, 0, 0.3])


def test_a_sample_that_was_cut_off_leaves_the_loss_but_not_the_baseline():
    cut_off = torch.tensor([[True, False, False]])
    got = advantages(table([0.3, 0.5, 0.7]), truncated=cut_off, mask_truncated=True)
    deviation = math.sqrt((0.04 + 0 + 0.04) / 3)
    assert_values(got.values, [0, 0, 0.2 / deviation])
    assert got.in_policy.tolist() == got.in_loss.tolist() == [[False, True, True]]
    assert advantages(table([0.3, 0.5, 0.7]), truncated=cut_off).in_loss.all()


def test_why_a_step_is_skipped():
    for marks, options, why in (
        (table([NAN, NAN]), {}, "no marks"),
        (table([0.4, 0.4]), {}, "zero variance"),
        (table([0.4, 0.6]), {"reward_threshold": 0.7}, "no sample in the loss"),
    ):
        assert why_skipped(marks, advantages(marks, **options)) == why
