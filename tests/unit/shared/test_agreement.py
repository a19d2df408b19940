"""Agreement of a teacher with tests: its share, its interval and its AUC, worked out by hand."""

from __future__ import annotations

import pytest

from markbook.contract import TeacherAgreement, agreement_interval, agreement_share
from markbook.scoring.evaluation.agreement import auc_of_counts
from markbook.scoring.evaluation.samples import JudgedSample
from markbook.scoring.evaluation.statistics import auc
from markbook.scoring.store.agreement_counts import percent_of

BOTH = TeacherAgreement(passed=10, passed_agreeing=8, failed=4, failed_agreeing=3)


def test_both_kinds_weigh_alike_however_many_there_are():
    assert agreement_share(BOTH) == pytest.approx((0.8 + 0.75) / 2)
    many = TeacherAgreement(passed=1_000, passed_agreeing=800, failed=4, failed_agreeing=3)
    assert agreement_share(many) == pytest.approx((0.8 + 0.75) / 2)


def test_one_kind_alone_is_its_own_share():
    assert agreement_share(TeacherAgreement(passed=4, passed_agreeing=1)) == 0.25
    assert agreement_share(TeacherAgreement(failed=4, failed_agreeing=3)) == 0.75
    assert agreement_share(TeacherAgreement()) is None


@pytest.mark.parametrize(("least", "expected"), [(4, 0.775), (5, 0.8), (10, 0.8), (11, None)])
def test_a_kind_with_too_few_samples_is_left_out(least, expected):
    assert agreement_share(BOTH, least) == (None if expected is None else pytest.approx(expected))


def test_the_interval_of_one_kind_is_wilsons():
    # 8 of 10: centre (0.8 + 0.19207) / 1.38415 = 0.71674, reach 1.41601 * sqrt(0.016 + 0.0096036) =
    # 0.22658
    alone = TeacherAgreement(passed=10, passed_agreeing=8)
    assert agreement_interval(alone) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert agreement_interval(TeacherAgreement()) is None
    # 3 of 3: 3 / (3 + 3.8415) to 1
    assert agreement_interval(TeacherAgreement(failed=3, failed_agreeing=3)) == pytest.approx(
        (0.43850, 1.0), abs=1e-5
    )


def test_the_interval_of_both_kinds():
    # 3 of 4: 0.30064 to 0.95441. Below sqrt(0.30984² + 0.44936²) / 2 = 0.27291, above sqrt(0.14332²
    # + 0.20441²) / 2
    assert agreement_interval(BOTH) == pytest.approx((0.775 - 0.27291, 0.775 + 0.12482), abs=1e-5)


def test_the_auc_of_counts_is_that_of_the_samples():
    right, wrong = {90: 2, 50: 1}, {50: 1, 10: 1}
    # of 3 x 2 pairs 5 are in order and one is a tie
    assert auc_of_counts(right, wrong) == pytest.approx(5.5 / 6)
    samples = [
        JudgedSample(0, 0, float(is_right), is_right, percent / 100)
        for counts, is_right in ((right, True), (wrong, False))
        for percent, count in counts.items()
        for _ in range(count)
    ]
    assert auc(samples)([1]) == pytest.approx(5.5 / 6)
    assert auc_of_counts({50: 1}, {}) is None
    assert auc_of_counts({}, {50: 1}) is None


@pytest.mark.parametrize(
    ("correctness", "percent"),
    [(0.0, 0), (0.29, 29), (0.57, 57), (0.499, 49), (0.5, 50), (0.4999999, 49), (1.0, 100)],
)
def test_hundredths_are_rounded_down(correctness, percent):
    assert percent_of(correctness) == percent
