"""Which tasks a step draws: each once an epoch, or the frontier; and what replaces groups
without differences.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from markbook.config.settings import Training
from markbook.trainer.data.task_sampling import MIXED, SETTLED, UNSEEN, TaskSampler
from markbook.trainer.run import FINISHED
from markbook.trainer.types import Task
from tests.unit.trainer.stub import StubService, scored
from tests.unit.trainer.test_run import by_hash, lines

TASKS = [Task(index, f"p{index}", "python", (1,)) for index in range(6)]


def indices(tasks):
    return [task.index for task in tasks]


def test_uniform_draws_every_task_once_an_epoch():
    sampler = TaskSampler(TASKS, Training(prompts_per_step=2), {})
    assert sorted(index for step in (1, 2, 3) for index in indices(sampler.step(step))) == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_a_resumed_run_draws_what_the_unbroken_one_would_have():
    outcomes = {0: (1, 2), 3: (0, 2)}
    for kind in ("uniform", "frontier"):
        training = Training(prompts_per_step=2, task_sampling=kind)
        whole = TaskSampler(TASKS, training, outcomes)
        steps = [indices(whole.step(step)) for step in (1, 2, 3, 4)]
        resumed = TaskSampler(TASKS, training, dict(outcomes))
        assert [indices(resumed.step(step)) for step in (3, 4)] == steps[2:]


def test_the_frontier_is_drawn_as_often_as_its_weight_says():
    outcomes = {
        0: (1, 4),
        1: (0, 4),
        2: (4, 4),
        3: (2, 2),
    }  # mixed, failed, passed, passed; 4 and 5 unseen
    sampler = TaskSampler(TASKS, Training(prompts_per_step=1, task_sampling="frontier"), outcomes)
    drawn = Counter(index for step in range(1, 4001) for index in indices(sampler.step(step)))
    whole = MIXED + 3 * SETTLED + 2 * UNSEEN
    expected = dict(enumerate([MIXED, SETTLED, SETTLED, SETTLED, UNSEEN, UNSEEN]))
    for index, weight in expected.items():
        assert drawn[index] / 4000 == pytest.approx(
            weight / whole, abs=0.03
        )  # over 4 standard errors


def test_a_step_of_more_prompts_than_tasks_draws_each_before_any_again():
    sampler = TaskSampler(TASKS, Training(prompts_per_step=8, task_sampling="frontier"), {})
    counts = Counter(indices(sampler.step(1)))
    assert sorted(counts.values()) == [1, 1, 1, 1, 2, 2]


def test_replacements_are_none_of_the_tasks_the_step_had():
    sampler = TaskSampler(TASKS, Training(), {})
    assert set(indices(sampler.replacements(9, 1, 0, frozenset({0, 1, 2})))) == {3, 4, 5}
    assert sampler.replacements(1, 1, 0, frozenset(range(6))) == []
    rounds = {
        tuple(indices(sampler.replacements(2, 1, number, frozenset()))) for number in range(8)
    }
    assert len(rounds) > 1


def test_groups_without_differences_are_replaced_up_to_the_bound(run, tmp_path):
    flat_at_first = iter([True] * 8)

    def mark(sample):
        return scored(0.5) if next(flat_at_first, False) else by_hash(sample)

    settings = {"max_steps": 1, "max_group_replacements": 1, "eval_tasks": None}
    with StubService(mark) as service:
        assert run(service, settings) == FINISHED
    [line] = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["replaced_groups"] == 1
    assert line["frac_zero_variance"] == 0.5  # of two groups the other stays: the bound is one
    samples = [
        json.loads(text) for text in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ]
    groups = Counter(sample["task"] for sample in samples)
    assert len(groups) == 3  # the replaced group is on record too: it was paid for


def test_a_group_with_differences_is_not_replaced(run, tmp_path):
    with StubService(by_hash) as service:
        assert (
            run(service, {"max_steps": 1, "max_group_replacements": 2, "eval_tasks": None})
            == FINISHED
        )
    [line] = lines(tmp_path / "run" / "metrics.jsonl")
    assert line["replaced_groups"] == 0
