"""What marks cost: one workload through the whole service and the SDK to the emulator, the old way
and ours.

The service runs in this process, the emulator counts tokens with a reconstruction of the provider's
tokenizer and bills as the provider does. The paid API is not reached: what it would bill differs as
far as the emulator errs.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import tokens_constrained, tokens_tested
from benchmarks.drift import drifts
from benchmarks.tokens_measured import (
    BEFORE,
    HAIKU,
    OURS,
    OURS_WHOLE_TASK,
    SONNET,
    STARTING_POINT,
    Row,
    holds,
    measure,
)
from benchmarks.workload import ScoredRequest, describe, workload
from markbook.scoring.teachers.anthropic.pricing import Tokens, cost_usd
from tests.emulator.server import Emulator


def uncached(row: Row, name: str) -> Row:
    """The same calls without the rubric in the prompt cache: every input token at full price."""
    return replace(row, name=name, tokens=Tokens(input=row.tokens.sent, output=row.tokens.output))


async def rows(emulator: Emulator, answers: Sequence[ScoredRequest], **billing: Any) -> list[Row]:
    [before] = await measure(emulator, BEFORE, answers, ["before"], **billing)
    [start] = await measure(
        emulator, STARTING_POINT, answers, ["starting point, rubric cached"], **billing
    )
    [whole] = await measure(emulator, OURS_WHOLE_TASK, answers, ["ours, whole task"], **billing)
    ours = await measure(emulator, OURS, answers, ["ours", "ours, second epoch"], **billing)
    return [before, uncached(start, "starting point, not cached"), start, ours[0], whole, ours[1]]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Per sample, but for the dollars."""
    yield (
        "| | calls | input tokens | output tokens | input at its price | billed_input_equivalent "
        "| $ / 1,000, Haiku 5.5 | $ / 1,000, Sonnet 5.5 | floor |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        n = row.samples
        haiku, sonnet = (1000 / n * cost_usd(row.tokens, price) for price in (HAIKU, SONNET))
        yield (
            f"| {row.name} | {row.calls / n:.2f} | {row.tokens.sent / n:,.0f} | "
            f"{row.tokens.output / n:.1f} | {row.input_at_price / n:,.0f} | "
            f"{row.all_at_price / n:,.0f} | {haiku:.4f} | {sonnet:.3f} | {row.floor / n:.0f} |"
        )


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """The goals of the table, and whether they are met."""
    before, _, start, ours, whole, again = rows
    saved, with_output = (
        1 - share for share in _shares(ours, before.input_at_price, before.all_at_price)
    )
    over, over_all = _shares(ours, ours.floor, ours.floor)
    yield f"ours: input {saved:.1%} below before by price (at least 90 %: {holds(saved >= 0.90)})"
    yield (
        f"ours: {with_output:.1%} below before with output (at least 88 %: "
        f"{holds(with_output >= 0.88)})"
    )
    yield (
        f"ours: input {over:.2f} x the floor (at most 1.7: {holds(over <= 1.7)}), with output "
        f"{over_all:.2f} x"
    )
    saved, with_output = (
        1 - share for share in _shares(whole, before.input_at_price, before.all_at_price)
    )
    over, _ = _shares(whole, whole.floor, whole.floor)
    yield (
        f"whole task: input {saved:.1%} below before by price, {with_output:.1%} with output, "
        f"{over:.2f} x the floor"
    )
    less = 1 - ours.all_at_price / start.all_at_price
    yield f"ours: {less:.1%} below the starting point with its rubric cached, output included"
    spent = again.tokens.sent + again.tokens.output
    yield (
        f"second epoch: {spent} tokens, {again.calls} calls (none: "
        f"{holds(spent == again.calls == 0)})"
    )
    yield (
        f"the tier rejected {ours.rejected} of {ours.samples} samples, {again.rejected} the "
        "second time"
    )


def _shares(row: Row, of_input: float, of_all: float) -> tuple[float, float]:
    return row.input_at_price / of_input, row.all_at_price / of_all


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens", description=__doc__)
    parser.add_argument("--tasks", type=int, default=88, help="default: %(default)s")
    parser.add_argument(
        "--samples", type=int, default=4, help="of each task (default: %(default)s)"
    )
    options = parser.parse_args()
    begun = time.monotonic()
    answers = workload(options.tasks, options.samples)
    print(describe(answers), flush=True)
    with Emulator() as emulator:
        for overhead in (0, 250):
            print(f"\nA structured-output overhead of {overhead} tokens per call:\n", flush=True)
            billing = {"structured_output_overhead": overhead, "overhead_always": True}
            found = await rows(emulator, answers, **billing)
            print(*table(found), "", *verdicts(found), sep="\n", flush=True)
        print("\nTasks with tests, without an overhead:\n", flush=True)
        shape = (options.tasks, options.samples)
        await tokens_tested.report(
            emulator, partial(print, flush=True), *shape, structured_output_overhead=0
        )
        print(
            "\nReplies held to a schema, which costs its hidden prompt where one is billed:\n",
            flush=True,
        )
        await tokens_constrained.report(emulator, partial(print, flush=True), answers)
        print(
            "\nDrift of a sample's mark between groups (standard deviation, marks from 0 to 1):\n"
        )
        print(*[line async for line in drifts(emulator, answers)], sep="\n")
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
