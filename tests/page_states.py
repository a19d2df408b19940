"""States of the pages, for browser tests and pictures: what is asked of a service to bring them
about.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from markbook.client import RetryPolicy, ScoringClient
from markbook.contract import MARK, PASS_AT_1, Sample, ScoreRequest
from markbook.scoring.store import Store
from markbook.scoring.store.rollups import MINUTE_MS
from tests.emulator.faults import always
from tests.emulator.server import Emulator
from tests.processes import ROOT, ServiceProcess
from tests.seeding import DAY_MINUTES, fill_ledger, run_name

TASK = "Write fold(values) that adds up the numbers in a list.\n\nAn empty list gives 0."
TESTS = ["assert fold([1, 2]) == 3", "assert fold([]) == 0"]
RIGHT = 'def fold(values):\n    """The sum."""\n    return sum(values)\n'
WRONG = RIGHT.replace("sum(values)", "sum(values) + 1")
CODES = (RIGHT, f"{RIGHT}\n# another", WRONG, "def fold(values:\n", "")
TASKS = ROOT / "demo" / "tasks" / "train.jsonl"


def paid_teacher(emulator: Emulator) -> dict[str, str]:
    """The environment of a service whose teacher is the emulator of the Messages API."""
    return {
        "ANTHROPIC_API_KEY": "any",
        "MARKBOOK_TEACHER": "anthropic",
        "MARKBOOK_TEACHER__BASE_URL": emulator.url,
        "MARKBOOK_STORE__KEEP_EXCHANGES": "100",
    }


def score(service: ServiceProcess, run: str, *codes: str, key: str | None = None) -> None:
    samples = [Sample(prompt=TASK, language="python", code=code, tests=TESTS) for code in codes]
    policy = RetryPolicy(0.0)
    with ScoringClient(service.url, api_key=key, timeout_s=60, retry_policy=policy) as client:
        client.score_request(ScoreRequest(run=run, samples=samples))


def score_tasks(
    service: ServiceProcess, run: str, *, tasks: int = 12, better: bool = False
) -> None:
    """Solutions of the demo's tasks and faulty ones; `better`: fewer of these."""
    with ScoringClient(service.url) as client:
        for line in TASKS.read_text().splitlines()[:tasks]:
            task: dict[str, Any] = json.loads(line)
            sample = {name: task[name] for name in ("prompt", "language", "tests") if name in task}
            solution = task["solution"]
            wrong = solution.replace("return ", "return not ", 1)
            codes = [solution, f"# {run}\n{solution}", wrong]
            if not better:
                codes = [
                    f"# {run}, once\n{solution}",
                    f"{wrong}\n# {run}",
                    f"{solution}\n\nprint((",
                    "",
                ]
            client.score_many([{**sample, "code": code} for code in codes], run=run)


def fill_day(url: str, until_ms: int, *, runs: int = 20) -> None:
    """The ledger of a day, and evaluations of its largest runs, made up."""
    fill_ledger(url, runs=runs, requests=6, calls=4, minutes=DAY_MINUTES, until_ms=until_ms)
    asyncio.run(_report_evaluations(url, until_ms))


def fill_minutes(url: str, until_ms: int) -> None:
    """The ledger of one run's first minutes."""
    fill_ledger(url, runs=1, requests=2, calls=1, minutes=8, until_ms=until_ms)


def bring_down(emulator: Emulator, service: ServiceProcess) -> None:
    """An outage of the teacher: calls for sixteen tasks fail at the same time."""
    emulator.settings.faults = always(["overloaded"])
    samples = [
        Sample(prompt=f"Write f{number}(a).", language="python", code=RIGHT) for number in range(16)
    ]
    with service.client() as client:
        client.score_request(ScoreRequest(run="outage", samples=samples))


async def _report_evaluations(url: str, until_ms: int) -> None:
    """Every three hours, of the three largest runs."""
    store = Store(url, 60_000)
    for number in range(3):
        for step in range(0, 80, 10):
            mark = 0.42 + 0.0025 * step * (0.3 + 0.45 * number)
            passing = 2 * mark - 0.6
            mark_values = mark, mark - 0.05, mark + 0.05
            pass_values = passing, passing - 0.09, passing + 0.09
            metrics = {MARK: mark_values, PASS_AT_1: pass_values}
            at_ms = until_ms - (DAY_MINUTES - 18 * step - 20) * MINUTE_MS
            await store.run_metrics.add(run_name(number), step, metrics, at_ms)
    await store.close()
