"""The table of `markbook judge`: its width, and its lines on two teachers and more."""

from __future__ import annotations

import pytest

from markbook.config.loading import parse_config
from markbook.scoring.cli.judge_table import ROWS, lines
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Choice, Comparison
from markbook.scoring.judging.labelled import LabelledSample, Truth
from markbook.scoring.judging.report import LabelledFile, Report, TeacherReport

SAMPLE = LabelledSample(prompt="p", language="go", code="", passed=True)
FILE = LabelledFile([SAMPLE, SAMPLE], [Truth(1.0, True), Truth(0.0, False)], [0, 0])
PAID = parse_config({"teacher": {"name": "anthropic"}})


def teacher(name, usd=1.0, **changes):
    figures = {key: Figure(-0.123456, -0.23456, 0.3456) for key in ROWS}
    figures["tokens_per_1000"] = Figure(1_234_567, 1_200_000, 1_300_000)
    figures["usd_per_1000"] = Figure(1.23456 * usd, 1.2345 * usd, 1.3456 * usd)
    figures["usd_per_auc_point"] = Figure(0.0123456 * usd, 0.012345 * usd, 0.013456 * usd)
    values = {
        "unscored": {},
        "unscored_repeats": {},
        "usd": usd,
        "cost_is_estimated": False,
        **changes,
    }
    return TeacherReport(
        name=name, config=PAID, profile="p", figures=figures, samples=[], by_source={}, **values
    )


@pytest.mark.parametrize("usd", [1e-5, 1e-3, 0.07, 0.7, 7.0, 70.0, 7000.0])
def test_it_is_at_most_eighty_columns_wide(usd):
    report = Report([teacher("a" * 90, usd), teacher("b", usd), teacher("c", usd)], [], None)
    shown = list(lines(FILE, report))
    assert max(map(len, shown)) <= 80
    assert (
        sum(line.startswith("AUC") for line in shown) == 2
    )  # two teachers side by side, the third below


def test_what_is_unscored_is_named_with_its_reason():
    shown = list(
        lines(
            FILE, Report([teacher("a", unscored={"deadline": 2, "budget_exhausted": 1})], [], None)
        )
    )
    assert "unscored                 3" in shown
    assert shown[-1] == "a: unscored and in no figure: budget_exhausted 1, deadline 2"


def test_costs_that_are_estimates_are_marked():
    shown = "\n".join(lines(FILE, Report([teacher("a", cost_is_estimated=True)], [], None)))
    assert "$ per 1,000              ~1.23" in shown
    assert "a: every mark was cached, so costs (~) are estimates" in shown


@pytest.mark.parametrize(
    ("difference", "choice", "expected"),
    [
        (
            Figure(0.01, -0.02, 0.03),
            Choice("a", ("a", "b"), "b"),
            [
                "a and b: indistinguishable; AUC differs by +0.010 [-0.020, +0.030] on 2 samples",
                "best: a; indistinguishable from it: b; the cheapest of these: b",
            ],
        ),
        (
            Figure(0.01, -0.02, 0.03),
            Choice("a", ("a", "b"), None),
            [
                "a and b: indistinguishable; AUC differs by +0.010 [-0.020, +0.030] on 2 samples",
                "best: a; indistinguishable from it: b; which is the cheapest is unknown: a cost "
                "or a price is missing",
            ],
        ),
        (
            Figure(0.2, 0.1, 0.3),
            Choice("a", ("a",), "a"),
            ["a and b: different; AUC differs by +0.200 [+0.100, +0.300] on 2 samples", "best: a"],
        ),
        (Figure(None), None, ["a and b: not comparable; AUC differs by - on 2 samples"]),
    ],
)
def test_comparison_and_choice(difference, choice, expected):
    report = Report([teacher("a"), teacher("b")], [Comparison("a", "b", 2, difference)], choice)
    shown = "\n".join(lines(FILE, report)).replace("\n  ", " ").splitlines()
    assert shown[-len(expected) :] == expected
