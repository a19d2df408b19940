"""`markbook tasks check`: whether a task file's tests distinguish right from wrong.

Runs them on this machine.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Annotated, Any

import typer
from tqdm import tqdm

from markbook.cli.options import JsonOption, new_app
from markbook.scoring.execution import TestResult, TestRunner, Verdict, open_runner
from markbook.scoring.execution.compare import shorten
from markbook.scoring.execution.guest.name_resolution import UNREADABLE, called_names
from markbook.scoring.languages import canonical
from markbook.tasks import TaskLine, read_tasks

PROBLEMS = 1
"""The exit status where a task has any."""


app = new_app(
    "Checks task files.",
    "markbook tasks check tasks.jsonl",
    "markbook tasks check HumanEval.jsonl.gz --confirm off",
)


class Confirm(StrEnum):
    AUTO = "auto"
    ON = "on"
    NOT_RUN = "not_run"
    OFF = "off"


@app.callback()
def _group() -> None:
    """A group, although it has one command so far."""


@app.command("check", short_help="Run solutions and tests, and report what is wrong.")
def check_file(
    file: Annotated[str, typer.Argument(help="The task file.")],
    confirm: Annotated[
        Confirm,
        typer.Option(
            help="Confirm failures with CPython inside bubblewrap; auto: where the machine allows "
            "it; not_run: only what Monty cannot run."
        ),
    ] = Confirm.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Run each task's solution against its tests, and functions that return None, which no test
    should pass.

    Shows tasks without tests and tasks whose own solution fails. Reads JSONL of {prompt, language,
    tests, test_setup, solution}, and HumanEval's and MBPP's form, .gz as well. Exit status: 0
    without a problem, 1 with one.
    """
    tasks = read_tasks(file)
    runner = open_runner(confirm.value)
    try:
        with ThreadPoolExecutor(runner.max_running) as threads, _bar(len(tasks)) as bar:
            found: list[dict[str, Any]] = []
            checks = threads.map(lambda each: list(check(each[1], runner)), tasks)
            for (number, _task), problems in zip(tasks, checks, strict=True):
                for problem in problems:
                    found.append({"line": number, "problem": problem})
                    if not as_json:
                        bar.write(f"{file}:{number}: {problem}", file=sys.stdout)
                bar.update()
    finally:
        runner.close()
    tests = sum(len(task.tests) for _, task in tasks)
    unsolved = sum(task.solution is None for _, task in tasks)
    if as_json:
        counts = {
            "tasks": len(tasks),
            "tests": tests,
            "without_solution": unsolved,
            "sandbox": runner.identity,
        }
        print(json.dumps({**counts, "problems": found}, indent=2))
    else:
        print(f"{file}: {len(tasks):,} tasks, {tests:,} tests, {len(found):,} problems")
        print(_where(runner))
        if unsolved:
            print(
                f"{unsolved:,} tasks have no solution, so whether their tests can be passed is "
                "unknown"
            )
    if found:
        raise typer.Exit(PROBLEMS)


def _where(runner: TestRunner) -> str:
    limits = runner.limits
    return (
        f"run in {' and '.join(runner.sandboxes)}, in at most {limits.test_s:g} s per test, "
        f"{limits.total_s:g} s and {limits.memory_bytes // 2**20:,} MiB per sample"
    )


def check(task: TaskLine, runner: TestRunner) -> Iterator[str]:
    """What is wrong with a task's tests, a line each."""
    if not task.tests:
        yield "no tests"
        return
    if canonical(task.language) != "python":
        yield f"tests of a task in {task.language} cannot be run: only python's can"
        return
    if task.solution is not None:
        yield from _failures_of_the_solution(task, task.solution, runner)
    for name, code in (("an empty answer", ""), ("functions that return None", _idle(task))):
        for test, result in zip(
            task.tests, runner.run_sync(code, task.tests, task.test_setup), strict=True
        ):
            if result.passed:
                yield f"passed by {name}: {shorten(test, 100)}"


def _failures_of_the_solution(task: TaskLine, solution: str, runner: TestRunner) -> Iterator[str]:
    for test, result in zip(
        task.tests, runner.run_sync(solution, task.tests, task.test_setup), strict=True
    ):
        if not result.passed:
            yield f"its own solution: {_describe(test, result)}"


def _describe(test: str, result: TestResult) -> str:
    verdict = (
        "cannot be run here"
        if result.verdict is Verdict.CANNOT_RUN
        else result.verdict.value.replace("_", " ")
    )
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
