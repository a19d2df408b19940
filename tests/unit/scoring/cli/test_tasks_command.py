"""`tasks check`: what it says of tasks that teach, and of those that do not."""

from __future__ import annotations

import json

import pytest

from markbook.cli import main

GOOD = {
    "prompt": "p",
    "language": "py",
    "tests": ["assert f(2) == 4"],
    "solution": "def f(x): return 2 * x",
}


@pytest.fixture
def check(tmp_path, capsys):
    path = tmp_path / "tasks.jsonl"

    def run(*tasks):
        path.write_text("\n".join(json.dumps(task) for task in tasks))
        status = main(["tasks", "check", str(path), "--confirm", "off"])
        return status, capsys.readouterr().out.replace(f"{path}:", "").splitlines()

    return run


def test_a_file_without_a_problem(check):
    status, lines = check(GOOD)
    assert status == 0
    assert lines == [
        " 1 tasks, 1 tests, 0 problems",
        "run in monty, in at most 2 s per test, 5 s and 128 MiB per sample",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tests": []}, "no tests"),
        ({"language": "rust"}, "tests of a task in rust cannot be run: only python's can"),
        (
            {"solution": "def f(x): return 3"},
            "its own solution: failed: assert f(2) == 4: expected 4, got 3",
        ),
        (
            {"tests": ["assert f(2) == 4", "assert f(2"]},
            "its own solution: cannot be run here: assert f(2: the test is",
        ),
        ({"tests": ["assert f(2) != 5"]}, "passed by functions that return None: assert f(2) != 5"),
        ({"tests": ["assert 1 == 1"]}, "passed by an empty answer: assert 1 == 1"),
        (
            {"tests": ["assert candidate(0) is not 1"], "test_setup": "candidate = f"},
            "passed by functions that return",
        ),
    ],
)
def test_each_problem_is_named_with_its_line(check, change, said):
    status, lines = check(GOOD, GOOD | change)
    assert status == 1
    assert lines[0].startswith(f"2: {said}"), lines


def test_a_task_without_a_solution_is_no_problem_but_counted(check):
    status, lines = check({key: value for key, value in GOOD.items() if key != "solution"})
    assert status == 0
    assert lines[2] == "1 tasks have no solution, so whether their tests can be passed is unknown"
