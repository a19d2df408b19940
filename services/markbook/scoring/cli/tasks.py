"""`tasks check`: whether a task file's tests tell right from wrong. Runs them here, asks nobody."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from markbook.scoring.cli import Subparsers, add_command
from markbook.scoring.execution import TestResult, TestRunner, Verdict, open_runner
from markbook.scoring.execution.compare import shorten
from markbook.scoring.execution.guest.names import UNREADABLE, called_names
from markbook.scoring.languages import canonical
from markbook.tasks import TaskLine, read_tasks

PROBLEMS = 1
"""The exit status where a task has any."""


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "tasks",
        "Runs each task's solution against its tests, and functions that return None, which no test should pass. Says "
        "which tasks have no tests, or whose own solution fails. Reads JSONL of {prompt, language, tests, test_setup, "
        "solution}, HumanEval's and MBPP's form, .gz as well. Exit status: 0 without a problem, 1 with one.",
        "tasks check tasks.jsonl",
        "tasks check HumanEval.jsonl.gz --confirm off",
    )
    parser.add_argument("action", choices=["check"], help="check: run solutions and tests")
    parser.add_argument("file", metavar="FILE", help="the task file")
    parser.add_argument(
        "--confirm",
        choices=["auto", "on", "off"],
        default="auto",
        help="confirm failures with CPython inside bubblewrap (default: auto, where the machine allows it)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    tasks = read_tasks(arguments.file)
    runner = open_runner(arguments.confirm)
    found = unsolved = 0
    try:
        with ThreadPoolExecutor(runner.max_running) as threads, _bar(len(tasks)) as bar:
            for (number, task), problems in zip(
                tasks, threads.map(lambda each: list(check(each[1], runner)), tasks), strict=True
            ):
                for problem in problems:
                    bar.write(f"{arguments.file}:{number}: {problem}", file=sys.stdout)
                found += len(problems)
                unsolved += task.solution is None
                bar.update()
    finally:
        runner.close()
    tests = sum(len(task.tests) for _, task in tasks)
    print(f"{arguments.file}: {len(tasks):,} tasks, {tests:,} tests, {found:,} problems; {runner.identity}")
    if unsolved:
        print(f"{unsolved:,} tasks have no solution: whether their tests can be passed is not known")
    return PROBLEMS if found else 0


def check(task: TaskLine, runner: TestRunner) -> Iterator[str]:
    """What is wrong with a task's tests, a line each."""
    if not task.tests:
        yield "no tests"
        return
    if canonical(task.language) != "python":
        yield f"tests of a task in {task.language} cannot be run: only python's can"
        return
    if task.solution is not None:
        for test, result in zip(task.tests, runner.run_sync(task.solution, task.tests, task.test_setup), strict=True):
            if not result.passed:
                yield f"its own solution: {_told(test, result)}"
    for name, code in (("an empty answer", ""), ("functions that return None", _idle(task))):
        for test, result in zip(task.tests, runner.run_sync(code, task.tests, task.test_setup), strict=True):
            if result.passed:
                yield f"passed by {name}: {shorten(test, 100)}"


def _told(test: str, result: TestResult) -> str:
    verdict = "cannot be run here" if result.verdict is Verdict.CANNOT_RUN else result.verdict.value.replace("_", " ")
    return f"{verdict}: {shorten(test, 100)}: {result.message}"


def _idle(task: TaskLine) -> str:
    """The functions that the tests call, each with a body that returns None."""
    names: set[str] = set()
    for text in (task.test_setup, *task.tests):
        try:
            names |= called_names(ast.parse(text))
        except UNREADABLE:
            continue  # such a test cannot be run, which the solution shows
    return "\n".join(f"def {name}(*args, **kwargs):\n    return None" for name in sorted(names))


def _bar(total: int) -> Any:
    return tqdm(total=total, unit="task", disable=None)
