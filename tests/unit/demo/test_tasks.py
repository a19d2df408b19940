"""The demo's tasks: counts, no overlap, names that survive truncation, and a teacher that honest
solutions satisfy.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from markbook.config.settings import Rlaif
from markbook.contract import Sample
from markbook.scoring.languages import canonical
from markbook.scoring.teachers.static.task import read_task
from tests.unit.scoring.marking import mark_all

FOLDER = Path(__file__).parents[3] / "demo" / "tasks"


def read(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


TRAIN, EVAL = read("train"), read("eval")


def function_of(task: dict[str, Any]) -> ast.FunctionDef:
    [function] = [
        node for node in ast.parse(task["solution"]).body if isinstance(node, ast.FunctionDef)
    ]
    return function


def words(task: dict[str, Any]) -> set[str]:
    frame = {
        "write",
        "a",
        "python",
        "function",
        "that",
        "returns",
        "the",
        "of",
        "to",
        "in",
        "or",
        "and",
        "with",
    }
    return set(re.findall(r"[a-z]+", task["prompt"].lower())) - frame


def test_there_are_enough_and_each_is_there_once():
    assert len(TRAIN) >= 64
    assert len(EVAL) >= 48
    names = [read_task(task["prompt"]).name for task in TRAIN + EVAL]
    assert len(set(names)) == len(names)
    assert len({task["prompt"] for task in TRAIN + EVAL}) == len(TRAIN + EVAL)


def test_no_evaluation_task_is_a_training_task_in_other_words():
    alike = {
        (one["prompt"], other["prompt"]): len(words(one) & words(other))
        / len(words(one) | words(other))
        for one in EVAL
        for other in TRAIN
    }
    closest = max(alike, key=alike.__getitem__)
    assert alike[closest] < 0.4, closest


@pytest.mark.parametrize("task", TRAIN + EVAL, ids=lambda task: read_task(task["prompt"]).name)
def test_a_task_fits_the_wire_is_short_and_keeps_its_name_when_cut(task):
    Sample(prompt=task["prompt"], language=task["language"], code="", tests=task["tests"])
    assert canonical(task["language"]) == "python"
    assert len(task["prompt"].split()) < 45
    shown = task["prompt"][: Rlaif().prompt_context_chars]
    assert read_task(shown) == read_task(task["prompt"])
    assert read_task(shown).name
    assert read_task(shown).parameters


@pytest.mark.parametrize("task", TRAIN + EVAL, ids=lambda task: read_task(task["prompt"]).name)
async def test_the_stand_in_finds_no_fault_with_an_honest_solution(task):
    asked, function = read_task(task["prompt"]), function_of(task)
    (marked,) = await mark_all(task["prompt"], task["solution"])
    assert function.name == asked.name
    assert tuple(argument.arg for argument in function.args.args) == asked.parameters
    assert marked.criteria["documentation"] == 0
    assert {name: mark for name, mark in marked.criteria.items() if mark < 1} == {
        "documentation": 0
    }, marked.reasons


@pytest.mark.parametrize("task", TRAIN + EVAL, ids=lambda task: read_task(task["prompt"]).name)
def test_every_test_passes_on_the_solution_and_fails_where_nothing_is_returned(task):
    assert len(task["tests"]) >= 3
    function = function_of(task)
    function.body = [ast.Return(ast.Constant(None))]
    for test in task["tests"]:
        exec(task["solution"] + "\n" + test, {})
        with pytest.raises((AssertionError, TypeError)):
            exec(ast.unparse(ast.fix_missing_locations(function)) + "\n" + test, {})
