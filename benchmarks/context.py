"""What each length of `prompt_context_chars` costs, and what of the task it hides, on the
workload of bench-tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Literal

from benchmarks.tokens_measured import BEFORE, Row, measure
from benchmarks.workload import ScoredRequest, workload
from markbook.scoring.prompts.prompt import truncate_task
from tests.emulator.server import Emulator

Policy = Literal["head", "head_tail"]

LENGTHS: tuple[tuple[Policy, int | None], ...] = (
    *(("head", chars) for chars in (100, 200, 400, 800, 1600)),
    *(("head_tail", chars) for chars in (200, 400, 800)),
    ("head", None),
)
"""None: the whole task."""

_SIGNATURE = re.compile(r"Write `([^`]+)`")
_RULE = re.compile(r"^\d+\. .*$", re.MULTILINE)


def settings(policy: Policy, chars: int | None) -> dict[str, dict[str, Any]]:
    if chars is None:
        return {"rlaif": {"truncate_prompt_for_scoring": False}}
    return {"rlaif": {"prompt_context_chars": chars, "prompt_context_policy": policy}}


def seen(tasks: Sequence[str], policy: Policy, chars: int | None) -> tuple[float, float, float]:
    """Shares, in the mean over tasks: characters shown, tasks whose signature is shown, numbered
    rules shown.
    """
    shown = [
        truncate_task(task, truncate=chars is not None, chars=chars or 0, policy=policy)
        for task in tasks
    ]
    pairs = list(zip(tasks, shown, strict=True))
    characters = fmean(len(part) / len(task) for task, part in pairs)
    signatures = fmean(_signature(task) in part for task, part in pairs)
    rules = fmean(fmean(rule in part for rule in _RULE.findall(task)) for task, part in pairs)
    return characters, signatures, rules


def _signature(task: str) -> str:
    found = _SIGNATURE.search(task)
    assert found is not None  # every task of the workload names its function
    return found[1]


async def table(emulator: Emulator, answers: Sequence[ScoredRequest]) -> Iterator[str]:
    [before] = await measure(emulator, BEFORE, answers, ["before"])
    rows: list[tuple[Policy, int | None, Row]] = []
    for policy, chars in LENGTHS:
        [row] = await measure(emulator, settings(policy, chars), answers, [f"{policy} {chars}"])
        rows.append((policy, chars, row))
    return _lines(before, rows, list(dict.fromkeys(answer.task for answer in answers)))


def _lines(
    before: Row, rows: Sequence[tuple[Policy, int | None, Row]], tasks: Sequence[str]
) -> Iterator[str]:
    yield (
        "| shown | input at its price | below before | of the task's characters | signatures | "
        "numbered rules |"
    )
    yield "|---|---|---|---|---|---|"
    for policy, chars, row in rows:
        characters, signatures, rules = seen(tasks, policy, chars)
        name = "the whole task" if chars is None else f"{policy} {chars:,}"
        saved = 1 - row.input_at_price / before.input_at_price
        cost = row.input_at_price / row.samples
        yield (
            f"| {name} | {cost:,.0f} | {saved:.1%} | {characters:.0%} | {signatures:.0%} | "
            f"{rules:.0%} |"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context", description=__doc__)
    parser.add_argument("--tasks", type=int, default=88, help="tasks, with 4 samples each")
    options = parser.parse_args()
    with Emulator() as emulator:
        print(*await table(emulator, workload(options.tasks)), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
