"""`markbook judge` against judges on the emulator with planted faults: intervals cover what was planted.

Quick: one seed of each. Long: eight seeds of each AUC.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest

from markbook.cli import main
from markbook.scoring.evaluation.judge_metrics import HIGH, LOW
from tests.emulator.planted import PlantedJudge, mean
from tests.emulator.server import Emulator

TASKS = 40
COPIES = 2
"""Right samples of each task, and as many wrong ones."""
SEEDS = range(8)
MIN_COVERED = 6
"""Of eight: each interval covers in 95 % of all runs, and fewer than six cover in 0.6 % of tests."""
MIDDLE = tuple(at / 100 for at in range(30, 71, 5))
"""Scores that a place or companions can move without reaching an end of the scale."""
LEVELS = (0.95, 0.80, 0.60)


def is_right(code: str) -> bool:
    return " + " in code


def samples():
    for task in range(TASKS):
        for copy in range(COPIES):
            for truth in (True, False):
                operator = "+" if truth else "-"
                code = f"def f{task}(value):\n    return value {operator} {task + 1}  # {copy}\n"
                prompt = f"Write f{task}(value), which adds {task + 1} to value."
                yield {"prompt": prompt, "language": "python", "code": code, "passed": truth}


@pytest.fixture
def measure(tmp_path, capsys, monkeypatch, emulator: Emulator):
    """`measure(judge, seed, a={…}, …)`: the report on configurations of the teacher, a fresh store for each call."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, samples())))

    stores = itertools.count()

    def run(judge: PlantedJudge, seed: int, **teachers):
        emulator.settings.judge = judge
        arguments = []
        for name, settings in teachers.items():
            store = {"database_url": f"sqlite:///{name}-{next(stores)}.db"}
            teacher = {"name": "anthropic", "base_url": emulator.url, **settings}
            (tmp_path / f"{name}.yaml").write_text(json.dumps({"teacher": teacher, "store": store}))
            arguments += ["--teacher", f"{name}.yaml"]
        options = ("--yes", "--json", "--resamples", "200", "--seed", str(seed))
        assert main(["judge", "file.jsonl", *arguments, *options]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def planted_figures(judge: PlantedJudge, auc: float) -> dict[str, float]:
    right, wrong = (list(zip(judge.grid, shares, strict=True)) for shares in (judge.right, judge.wrong))
    return {
        "auc": auc,
        "pairs_ordered": auc,  # the marks of a task's samples are independent here
        "mean_right": mean(judge.grid, judge.right),
        "mean_wrong": mean(judge.grid, judge.wrong),
        "wrong_scored_high": sum(share for score, share in wrong if score >= HIGH),
        "right_scored_low": sum(share for score, share in right if score < LOW),
        "order_effect": 0.0,
    }


def of_auc(measure, auc: float, seed: int) -> dict[str, bool]:
    judge = PlantedJudge(auc, is_right, seed=seed)
    [teacher] = measure(judge, seed, a={})["teachers"]
    return covered(teacher["figures"], planted_figures(judge, auc))


def of_order(measure, seed: int) -> dict[str, bool]:
    """Each later place costs 0.05."""
    judge = PlantedJudge(0.80, is_right, seed=seed, grid=MIDDLE, per_place=-5)
    [teacher] = measure(judge, seed, a={})["teachers"]
    return covered(teacher["figures"], {"order_effect": -0.05})


def of_companions(measure, seed: int) -> dict[str, bool]:
    """A right sample is shown with one right and two wrong ones, a wrong sample the other way round."""
    judge = PlantedJudge(0.80, is_right, seed=seed, grid=MIDDLE, pull=0.5)
    [comparison] = measure(judge, seed, together={}, alone={"max_group_size": 1})["comparisons"]
    truths = {
        "right": judge.moved_by_companions([True, False, False]),
        "wrong": judge.moved_by_companions([True, True, False]),
    }
    assert truths["right"] > 0.005 > -0.005 > truths["wrong"]
    return covered(comparison, truths)


def covered(figures, truths: dict[str, float]) -> dict[str, bool]:
    return {name: figures[name]["low"] <= truth <= figures[name]["high"] for name, truth in truths.items()}


@pytest.mark.parametrize("auc", LEVELS)
def test_a_planted_auc_is_within_the_interval(measure, auc):
    found = of_auc(measure, auc, seed=1)
    assert found["auc"]
    assert sum(found.values()) >= len(found) - 1, found  # of seven intervals of 95 %


def test_a_planted_order_bias_is_within_the_interval(measure):
    assert all(of_order(measure, seed=1).values())


def test_planted_companions_are_within_the_interval(measure):
    assert all(of_companions(measure, seed=1).values())


def count(found) -> Counter[str]:
    hits: Counter[str] = Counter()
    for each in found:
        hits.update(name for name, is_covered in each.items() if is_covered)
    return hits


@pytest.mark.long
@pytest.mark.parametrize("auc", LEVELS)
def test_most_intervals_cover_a_planted_auc(measure, auc):
    hits = count(of_auc(measure, auc, seed) for seed in SEEDS)
    assert len(hits) == 7
    assert min(hits.values()) >= MIN_COVERED, hits
