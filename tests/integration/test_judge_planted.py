"""`markbook judge` against judges on the emulator with planted faults: intervals cover what was
planted.

How often intervals cover it is counted without a service, in
tests/unit/scoring/evaluation/test_coverage_planted.py.
"""

from __future__ import annotations

import itertools
import json

import pytest

from markbook.cli import main
from markbook.scoring.evaluation.judge_metrics import evaluate
from tests.emulator.planted import PlantedJudge
from tests.emulator.server import Emulator
from tests.planted_samples import (
    LEVELS,
    TASKS,
    companion_shifts,
    is_right,
    judged_samples,
    labelled_samples,
    leaning_judge,
    ordering_judge,
    planted_figures,
)

RESAMPLES = 200


@pytest.fixture
def measure(tmp_path, capsys, monkeypatch, emulator: Emulator):
    """`measure(judge, seed, a={…}, …)`: the report on configurations of the teacher, a fresh
    store for each call.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, labelled_samples())))

    stores = itertools.count()

    def run(judge: PlantedJudge, seed: int, **teachers):
        emulator.settings.judge = judge
        arguments = []
        for name, settings in teachers.items():
            store = {"database_url": f"sqlite:///{name}-{next(stores)}.db"}
            teacher = {"name": "anthropic", "base_url": emulator.url, **settings}
            (tmp_path / f"{name}.yaml").write_text(json.dumps({"teacher": teacher, "store": store}))
            arguments += ["--teacher", f"{name}.yaml"]
        options = ("--yes", "--json", "--resamples", str(RESAMPLES), "--seed", str(seed))
        assert main(["judge", "file.jsonl", *arguments, *options]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def expected_figures(judge: PlantedJudge, seed: int):
    """The report's figures of the marks that the judge draws, computed without request or store."""
    drawn = judged_samples(judge, seed=seed)
    found = evaluate(drawn, [], tasks=TASKS, resamples=RESAMPLES, seed=seed)
    return {
        name: pytest.approx({"value": each.value, "low": each.low, "high": each.high}, abs=1e-6)
        for name, each in found.items()
        if name in planted_figures(judge, 0.5) and name != "order_effect"  # the places differ
    }


def check_auc(measure, auc: float, seed: int) -> None:
    judge = PlantedJudge(auc, is_right, seed=seed)
    [teacher] = measure(judge, seed, a={})["teachers"]
    figures, expected = teacher["figures"], expected_figures(judge, seed)
    assert len(expected) == 6
    assert {name: figures[name] for name in expected} == expected
    found = covered(figures, planted_figures(judge, auc))
    assert found["auc"]
    assert sum(found.values()) >= len(found) - 1, found  # of seven intervals of 95 %


def covered(figures, truths: dict[str, float]) -> dict[str, bool]:
    return {
        name: figures[name]["low"] <= truth <= figures[name]["high"]
        for name, truth in truths.items()
    }


@pytest.mark.parametrize("auc", LEVELS)
def test_a_planted_auc_is_within_the_interval(measure, auc):
    check_auc(measure, auc, seed=1)


def test_a_planted_order_bias_is_within_the_interval(measure):
    [teacher] = measure(ordering_judge(seed=1), 1, a={})["teachers"]
    assert all(covered(teacher["figures"], {"order_effect": -0.05}).values())


def test_planted_companions_are_within_the_interval(measure):
    judge = leaning_judge(seed=1)
    [comparison] = measure(judge, 1, together={}, alone={"max_group_size": 1})["comparisons"]
    truths = companion_shifts(judge)
    assert truths["right"] > 0.005 > -0.005 > truths["wrong"]
    assert all(covered(comparison, truths).values())


@pytest.mark.long
@pytest.mark.parametrize("auc", LEVELS)
def test_a_second_planted_judge_is_within_the_intervals(measure, auc):
    check_auc(measure, auc, seed=2)
