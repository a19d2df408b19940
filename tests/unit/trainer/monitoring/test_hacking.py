"""The checks for reward hacking: every figure by hand, both sides of each limit, and each said
once.
"""

from __future__ import annotations

import pytest

from markbook.config.settings import Rlaif
from markbook.contract import ExtractedFrom, Scored, Source
from markbook.trainer.monitoring.reward_hacking import (
    alarms,
    check_step,
    hacking_metrics,
    length_correlation,
)
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import unscored

QUIET = {
    "length_correlation": 0.0,
    "frac_identical": 0.0,
    "frac_ceiling": 0.0,
    "kl": 0.0,
    "alarms": [],
}


def mark(score, source=Source.TEACHER):
    return Scored(
        score=score,
        source=source,
        criteria=None,
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )


def group(*rows):
    """Rows of (tokens, result) or (tokens, result, text)."""
    task = Task(0, "a task", "python", (1,))
    texts = [row[2] if len(row) > 2 else f"{id(rows)} {place}" for place, row in enumerate(rows)]
    samples = [
        Sample(task, (7,) * row[0], text, truncated=False)
        for row, text in zip(rows, texts, strict=True)
    ]
    return samples, [row[1] for row in rows]


def test_the_correlation_is_within_tasks():
    # lengths less their means -1 0 1 and -2 2, marks less theirs -.1 0 .1 and .2 -.2: products .2 -
    # .8, squares 10, .1
    groups = [
        group((10, mark(0.1)), (11, mark(0.2)), (12, mark(0.3))),
        group((50, mark(0.9)), (54, mark(0.5))),
    ]
    assert length_correlation(groups) == pytest.approx(-0.6 / (10 * 0.1) ** 0.5)


def test_what_nobody_judged_is_in_no_correlation():
    judged = ((10, mark(0.1)), (12, mark(0.3)), (11, mark(0.15)))
    cut_off = (99, mark(0.0, Source.HEURISTIC))
    expected = length_correlation([group(*judged)])
    assert expected == pytest.approx(
        0.2 / (2 * 0.0216667) ** 0.5, rel=1e-4
    )  # mean .18333: -.08333 .11667 -.03333
    assert length_correlation([group(*judged, cut_off, (1, unscored()))]) == pytest.approx(expected)
    cached = [(tokens, mark(result.score, Source.CACHE)) for tokens, result in judged]
    assert length_correlation([group(*cached)]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [group((3, mark(0.5)))],
        [group((3, unscored()), (4, unscored()))],
        [group((3, mark(0.1)), (3, mark(0.9)))],
        [
            group((1, mark(0.1)), (2, mark(0.1)), (4, mark(0.1)))
        ],  # 0.1 three times has a mean that is not 0.1
    ],
)
def test_where_nothing_differs_there_is_no_correlation(groups):
    assert length_correlation(groups) is None


def test_samples_with_a_twin_are_counted_whatever_their_mark():
    found = hacking_metrics(
        [
            group((3, mark(0.2), "a"), (3, unscored(), " a\n"), (3, mark(0.4), "b")),
            group((3, mark(0.2), "c"), (3, mark(0.0, Source.HEURISTIC), "b")),
        ]
    )
    assert found["frac_identical"] == 4 / 5  # a twice, b in two tasks


def test_the_ceiling_is_a_share_of_marks():
    found = hacking_metrics(
        [
            group(
                (3, mark(0.95)), (3, mark(0.949)), (3, mark(0.0, Source.HEURISTIC)), (3, unscored())
            )
        ]
    )
    assert found["frac_ceiling"] == pytest.approx(1 / 3)
    assert hacking_metrics([group((3, unscored()))])["frac_ceiling"] is None


@pytest.mark.parametrize(
    ("check", "key", "above", "at"),
    [
        ("length_correlation", "max_length_correlation", 0.51, 0.5),
        ("length_correlation", "max_length_correlation", -0.51, -0.5),
        ("frac_identical", "max_identical_fraction", 0.51, 0.5),
        ("frac_ceiling", "max_ceiling_fraction", 0.91, 0.9),
        ("kl", "max_kl", 0.51, 0.5),
    ],
)
def test_a_check_strikes_strictly_above_its_limit(check, key, above, at):
    rlaif = Rlaif(reward_hacking_window=1)
    [alarm] = alarms([QUIET | {check: above}], rlaif)
    assert alarm.check == check
    assert f"{above:.2f} over 1 steps, above rlaif.{key} ({abs(at):g})" in alarm.text
    assert alarms([QUIET | {check: at}], rlaif) == []
    assert alarms([QUIET | {check: None}], rlaif) == []
    assert alarms([QUIET | {check: above}], rlaif.model_copy(update={key: None})) == []


def test_a_kl_below_zero_runs_nowhere():
    assert (
        alarms([QUIET | {"kl": -3.0}], Rlaif(reward_hacking_window=1)) == []
    )  # k1 may be negative


def test_it_is_the_mean_of_the_last_steps_that_have_a_value():
    rlaif = Rlaif(reward_hacking_window=3)
    values = [9.0, 0.4, None, 0.5, 0.6]
    history = [QUIET | {"kl": value} for value in values]
    assert [len(alarms(history[:end], rlaif)) for end in range(1, 6)] == [0, 0, 0, 1, 0]
    # the first three that there are: 9.0 0.4 0.5; the last three: 0.4 0.5 0.6, no more than 0.5


def test_each_is_said_once():
    rlaif = Rlaif(reward_hacking_window=1)
    struck = QUIET | {"kl": 9.0, "alarms": ["kl"]}
    again = QUIET | {"kl": 9.0, "frac_identical": 1.0}
    assert [alarm.check for alarm in alarms([struck, QUIET, again], rlaif)] == ["frac_identical"]


def judged(passed: int, passed_agreeing: int, failed: int = 0, failed_agreeing: int = 0, **more):
    """A step's line with the service's counts of the run so far."""
    counts = {
        "passed": passed,
        "passed_agreeing": passed_agreeing,
        "failed": failed,
        "failed_agreeing": failed_agreeing,
    }
    return {**QUIET, "judged_and_tested": counts, **more}


class TestTheTeacherAgainstTests:
    RLAIF = Rlaif(reward_hacking_window=2, min_agreement_samples=10, min_teacher_agreement=0.6)

    def test_the_window_is_the_difference_of_the_runs_counts(self):
        history = [judged(100, 100), judged(100, 100, 50, 40), judged(110, 106, 55, 42)]
        line, found = check_step(history, judged(120, 110, 70, 45), self.RLAIF)
        # since the second line: 10 of 20 that passed, 5 of 20 that failed
        assert line["teacher_agreement"] == pytest.approx((10 / 20 + 5 / 20) / 2)
        assert line["alarms"] == ["teacher_agreement"]
        [alarm] = found
        assert alarm.text.startswith(
            "the teacher agrees with tests on 0.38 of what it judged, below rlaif.min_teacher"
        )

    def test_before_the_window_is_full_the_run_so_far_counts(self):
        line, _ = check_step([judged(4, 4)], judged(10, 7), self.RLAIF)
        assert line["teacher_agreement"] == 0.7

    @pytest.mark.parametrize(("failed", "expected"), [(9, 0.8), (10, (0.8 + 0.0) / 2)])
    def test_a_kind_with_too_few_samples_is_left_out(self, failed, expected):
        line, _ = check_step([], judged(10, 8, failed, 0), self.RLAIF)
        assert line["teacher_agreement"] == pytest.approx(expected)

    @pytest.mark.parametrize(("agreeing", "raised"), [(6, []), (5, ["teacher_agreement"])])
    def test_both_sides_of_the_limit(self, agreeing, raised):
        line, _ = check_step([], judged(10, agreeing), self.RLAIF)
        assert line["alarms"] == raised
        unlimited = self.RLAIF.model_copy(update={"min_teacher_agreement": None})
        assert check_step([], judged(10, agreeing), unlimited)[1] == []

    def test_it_is_raised_once(self):
        history = [judged(10, 5, alarms=["teacher_agreement"])]
        assert check_step(history, judged(20, 10), self.RLAIF)[1] == []

    def test_a_service_that_counts_nothing_says_nothing(self):
        assert check_step([], QUIET, self.RLAIF)[0]["teacher_agreement"] is None
        assert check_step([], judged(9, 0), self.RLAIF)[0]["teacher_agreement"] is None

    def test_counts_that_begin_again_are_those_of_a_new_store(self):
        history = [judged(100, 100), judged(100, 100)]
        line, _ = check_step(history, judged(10, 9), self.RLAIF)
        assert line["teacher_agreement"] == 0.9
