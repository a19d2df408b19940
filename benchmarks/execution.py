"""How far the sandboxes that run tests can be trusted, and how fast they are: `make bench-execution
HUMANEVAL=FILE`.

Solutions that are known to be right must pass: each that does not is a false failure, or "cannot
run". Files in HumanEval's and MBPP's form are read as they are, and pairs of buggy and right code:
lines with `good`, `bad` and `test`, or HumanEvalPack's `buggy_solution`. Of the buggy ones as many
must fail as under CPython.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markbook.scoring.execution import TestResult, TestRunner, Verdict, open_runner
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.monty import MontySandbox
from markbook.split_tests import split_check
from markbook.tasks import read_tasks

CORES = 2


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    tests: list[str]
    setup: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="tasks with solutions, in any form"
    )
    parser.add_argument(
        "--pairs",
        action="append",
        default=[],
        metavar="FILE",
        help="buggy and right code with a test",
    )
    parser.add_argument(
        "--list", action="store_true", help="name each task whose verdict is not as it should be"
    )
    arguments = parser.parse_args()
    fault = bubblewrap_fault()
    runners: dict[str, TestRunner] = {
        "Monty alone": TestRunner(MontySandbox(CORES), max_running=CORES)
    }
    if fault is None:
        runners["Monty, CPython confirms"] = open_runner("on", max_running=CORES)
        runners["CPython alone"] = TestRunner(CPythonSandbox(), max_running=CORES)
    else:
        print(f"no confirmation here: {fault}")
    for path in arguments.files:
        right = list(_solutions(path))
        for name, runner in runners.items():
            _report(f"{Path(path).name}: {name}", right, runner, arguments.list)
    for path in arguments.pairs:
        good, bad = _pairs(path)
        for name, runner in runners.items():
            _report(f"{Path(path).name}, right: {name}", good, runner, arguments.list)
            _report(f"{Path(path).name}, buggy: {name}", bad, runner, False)
    for runner in runners.values():
        runner.close()
    return 0


def _solutions(path: str) -> Iterator[Case]:
    for number, task in read_tasks(path):
        if task.solution is not None and task.tests:
            yield Case(f"{Path(path).name}:{number}", task.solution, task.tests, task.test_setup)


def _pairs(path: str) -> tuple[list[Case], list[Case]]:
    good: list[Case] = []
    bad: list[Case] = []
    for number, line in enumerate(_lines(path), start=1):
        row: dict[str, Any] = json.loads(line)
        if not row.get("test") or row.get("language", "python") != "python":
            continue
        codes = row.get("good"), row.get("bad")
        if "buggy_solution" in row:
            codes = (
                row["declaration"] + row["canonical_solution"],
                row["declaration"] + row["buggy_solution"],
            )
        entry_point = row.get("entry_point") or re.findall(r"check\((\w+)\)", row["test"])[-1]
        setup, tests = split_check(row["test"], entry_point)
        for cases, code in zip((good, bad), codes, strict=True):
            cases.append(Case(f"{Path(path).name}:{number}", str(code), tests, setup))
    return good, bad


def _lines(path: str) -> Iterator[str]:
    data = Path(path).read_bytes()
    text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
    return (line for line in text.split("\n") if line.strip())


def _report(title: str, cases: Sequence[Case], runner: TestRunner, name_them: bool) -> None:
    started = time.perf_counter()
    with ThreadPoolExecutor(CORES) as threads:
        measured = list(threads.map(lambda case: _measure(case, runner), cases))
    wall_s = time.perf_counter() - started
    verdicts = Counter(verdict for verdict, _, _ in measured)
    took = [1000 * seconds for _, _, seconds in measured]
    total = len(cases)
    print(f"{title}: {total} samples, {sum(len(case.tests) for case in cases)} tests")
    for verdict in Verdict:
        if verdicts[verdict]:
            print(f"  {verdict.value:14}{verdicts[verdict]:5}  {verdicts[verdict] / total:6.1%}")
    print(
        f"  mean {statistics.mean(took):.1f} ms per sample, median {statistics.median(took):.1f}, "
        f"worst {max(took):.0f}; {total / wall_s:,.0f} samples/s on {CORES} cores"
    )
    if name_them:
        for case, (verdict, message, _) in zip(cases, measured, strict=True):
            if verdict is not Verdict.PASSED:
                print(f"    {case.name}: {verdict.value}: {message}")
    sys.stdout.flush()


def _measure(case: Case, runner: TestRunner) -> tuple[Verdict, str, float]:
    """A sample passes when all its tests pass; else the first that did not speaks for it, a
    failure before others.
    """
    started = time.perf_counter()
    results = runner.run_sync(case.code, case.tests, case.setup)
    seconds = time.perf_counter() - started
    order = [Verdict.FAILED, Verdict.TIMED_OUT, Verdict.OUT_OF_MEMORY, Verdict.CANNOT_RUN]
    worst: TestResult = min(
        (result for result in results if not result.passed),
        key=lambda result: order.index(result.verdict),
        default=TestResult(Verdict.PASSED),
    )
    return worst.verdict, worst.message, seconds


if __name__ == "__main__":
    sys.exit(main())
