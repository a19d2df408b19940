"""Old and new scores side by side: every figure worked out by hand."""

from __future__ import annotations

import pytest

from markbook.scoring.evaluation.paired_scores import (
    GroupCounts,
    ScorePair,
    compare_scores,
    correlation,
    count_groups,
    parted_most,
)


def pairs(*groups: list[tuple[float, float]]) -> list[ScorePair]:
    """Groups of (old, new), each a task of its own."""
    found: list[ScorePair] = []
    for number, group in enumerate(groups):
        for old, new in group:
            found.append(ScorePair(len(found), number, number, old, new))
    return found


SAME_REVERSED_FLAT = pairs(
    [(0.9, 0.9), (0.1, 0.1)], [(0.9, 0.1), (0.1, 0.9)], [(0.9, 0.5), (0.1, 0.5)]
)


def values(given: list[ScorePair], tasks: int) -> dict[str, float | None]:
    return {
        name: figure.value
        for name, figure in compare_scores(given, tasks=tasks, resamples=100, seed=0).items()
    }


def test_one_task_agrees_one_is_reversed_one_is_flat():
    assert values(SAME_REVERSED_FLAT, 3) == {
        "mean_old": pytest.approx(0.5),
        "mean_new": pytest.approx(0.5),
        "mean_difference": pytest.approx(0.0, abs=1e-12),
        # products of the deviations: .16 .16 -.16 -.16 0 0
        "correlation": pytest.approx(0.0, abs=1e-12),
        "rank_correlation": pytest.approx(0.0, abs=1e-12),
        # 1, 0, and a tie
        "pairs_in_order": pytest.approx(0.5),
        "advantage_correlation": pytest.approx(0.0, abs=1e-12),
        # two of six samples; the flat ones were reinforced before and are not any more, which is no
        # other sign
        "advantage_reversed": pytest.approx(2 / 6),
        # of three groups one has another best sample; where all are equal the best is still among
        # them
        "best_changed": pytest.approx(1 / 3),
    }
    assert count_groups(SAME_REVERSED_FLAT) == GroupCounts(
        groups=3, samples=6, flat_old=0, flat_new=1
    )


def test_a_shift_changes_scores_and_no_advantage():
    shifted = pairs([(0.8, 0.5), (0.4, 0.1), (0.3, 0.0)])
    found = values(shifted, 1)
    assert found["mean_difference"] == pytest.approx(-0.3)
    for name in ("correlation", "rank_correlation", "pairs_in_order", "advantage_correlation"):
        assert found[name] == pytest.approx(1.0)
    assert (found["advantage_reversed"], found["best_changed"]) == (0.0, 0.0)


def test_pearsons_correlation():
    # deviations -.2 0 .2 and -.1 .2 -.1 (means .4, .4): products .02 - .02, so 0; then with a
    # fourth
    assert correlation(pairs([(0.2, 0.3), (0.4, 0.6), (0.6, 0.3)]), 1)([1]) == pytest.approx(
        0.0, abs=1e-12
    )
    # 0 1 2 3 and 1 3 2 4 (tenths): deviations products 2.25 - .25 - .25 + 2.25 = 4, both sums of
    # squares 5
    four = pairs([(0.0, 0.1), (0.1, 0.3), (0.2, 0.2), (0.3, 0.4)])
    assert correlation(four, 1)([1]) == pytest.approx(0.8)
    assert correlation(four, 1)([7]) == pytest.approx(0.8)  # however often the task is drawn
    assert correlation(four, 1)([0]) is None
    assert correlation(pairs([(0.5, 0.1), (0.5, 0.9)]), 1)([1]) is None


def test_a_group_of_one_has_no_advantage():
    alone = pairs([(0.9, 0.1)], [(0.2, 0.3)])
    found = values(alone, 2)
    assert (found["advantage_correlation"], found["advantage_reversed"], found["best_changed"]) == (
        None,
        None,
        None,
    )
    assert count_groups(alone) == GroupCounts(0, 0, 0, 0)


def test_a_group_is_not_the_whole_task():
    """Two steps of one task: in each the second sample is the better one, by both scores; over
    the task it is not.
    """
    given = [
        ScorePair(0, 0, 0, 0.8, 0.1),
        ScorePair(1, 0, 0, 0.9, 0.2),
        ScorePair(2, 0, 1, 0.1, 0.8),
        ScorePair(3, 0, 1, 0.2, 0.9),
    ]
    found = values(given, 1)
    assert found["advantage_correlation"] == pytest.approx(1.0)
    assert found["advantage_reversed"] == 0.0
    assert found["correlation"] == pytest.approx(
        -0.96
    )  # products of the deviations -0.48, both squares 0.5


def test_what_parts_most_comes_first_and_ties_keep_their_order():
    given = pairs([(0.5, 0.6), (0.9, 0.1), (0.1, 0.9), (0.2, 0.2)])
    assert [each.index for each in parted_most(given, 3)] == [1, 2, 0]
    assert parted_most(given, 0) == []
    assert len(parted_most(given, 10)) == 4


def test_a_share_of_nothing_has_the_exact_interval_of_as_many_tasks():
    given = pairs([(0.9, 0.8), (0.1, 0.2)], [(0.9, 0.7), (0.1, 0.3)], [(0.5, 0.1), (0.5, 0.2)])
    figures = compare_scores(given, tasks=3, resamples=100, seed=0)
    # Clopper and Pearson: 1 - 0.025 ** (1 / 3) of three tasks, 1 - 0.025 ** (1 / 2) of the two
    # whose old scores differ
    assert (figures["advantage_reversed"].low, figures["advantage_reversed"].high) == (
        0.0,
        pytest.approx(0.707598),
    )
    assert (figures["best_changed"].low, figures["best_changed"].high) == (
        0.0,
        pytest.approx(0.841886),
    )
    assert (figures["pairs_in_order"].low, figures["pairs_in_order"].high) == (
        pytest.approx(0.158114),
        1.0,
    )


def test_the_interval_is_over_tasks():
    figures = compare_scores(SAME_REVERSED_FLAT, tasks=3, resamples=1000, seed=0)
    # of three tasks drawn with replacement all may be the first or the second: 1 in 27 each
    assert (figures["pairs_in_order"].low, figures["pairs_in_order"].high) == (0.0, 1.0)
    assert (
        compare_scores(pairs([(0.9, 0.1)]), tasks=1, resamples=100, seed=0)["mean_old"].low is None
    )
