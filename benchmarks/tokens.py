"""What marks cost: one workload through the whole service and the SDK to the emulator, the old way and ours.

The service runs in this process, the emulator counts tokens with a reconstruction of the provider's tokenizer and bills
as the provider does. The paid API is not reached: what it would bill differs as far as the emulator errs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.drift import drifts
from benchmarks.workload import TEXTS, ScoredRequest, describe, workload
from markbook.config.loading import parse_config
from markbook.config.settings import PRICES_OF_2026_11
from markbook.contract import Counters, Scored, ScoreResponse, Source, Stats
from markbook.scoring.app import create_app
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.pricing import Tokens, billed_input_equivalent, cost_usd
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from tests.emulator.server import Emulator
from tests.emulator.tokens import exact

# sums of many calls are priced, none of which is a long prompt
HAIKU, SONNET = (
    PRICES_OF_2026_11[model].model_copy(update={"long_prompt_tokens": None})
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5")
)
SAMPLES_A_REQUEST = 32
"""A trainer's step of 8 tasks."""

Settings = Mapping[str, Mapping[str, Any]]

ONE_BY_ONE = {"rubric": str(TEXTS / "rubric_before.md"), "max_group_size": 1}
BEFORE: Settings = {
    "rlaif": {
        "move_rubric_to_system_prompt": False,
        "truncate_prompt_for_scoring": False,
        "use_tiered_scoring": False,
    },
    "teacher": ONE_BY_ONE,
}
STARTING_POINT: Settings = {"rlaif": {"use_tiered_scoring": False}, "teacher": ONE_BY_ONE}
"""Its rule rejects cut code now and then and no other kind of fault, so no tier is the nearest of our settings."""
OURS: Settings = {}
OURS_WHOLE_TASK: Settings = {"rlaif": {"truncate_prompt_for_scoring": False}}


@dataclass(frozen=True)
class Row:
    """The sums of one way to mark all samples. `floor`: code tokens of the samples that a teacher judged."""

    name: str
    samples: int
    calls: int
    tokens: Tokens
    floor: int
    rejected: int = 0

    @property
    def input_at_price(self) -> float:
        """Input tokens, each kind weighed by its price."""
        return billed_input_equivalent(replace(self.tokens, output=0), HAIKU)

    @property
    def all_at_price(self) -> float:
        return billed_input_equivalent(self.tokens, HAIKU)


async def measure(
    emulator: Emulator, settings: Settings, answers: Sequence[ScoredRequest], names: Sequence[str], **billing: Any
) -> list[Row]:
    """All answers through a fresh service, once for each of `names`: from the second time on it has its book."""
    emulator.clear(**billing)
    with tempfile.TemporaryDirectory() as folder:
        teacher = {"name": "anthropic", "base_url": emulator.url, **settings.get("teacher", {})}
        store = {"database_url": f"sqlite:///{Path(folder) / 'book.db'}"}
        config = parse_config({**settings, "teacher": teacher, "store": store})
        rubric = load_rubric(config.teacher.rubric)
        app = create_app(config, AnthropicTeacher.from_config(config, rubric, {"ANTHROPIC_API_KEY": "none"}))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://markbook", timeout=None) as http,
        ):
            return [await _epoch(http, emulator, answers, name) for name in names]


async def _epoch(http: httpx.AsyncClient, emulator: Emulator, answers: Sequence[ScoredRequest], name: str) -> Row:
    begin, floor, rejected = len(emulator.log), 0, 0
    run = f"after-{begin}-calls"
    for start in range(0, len(answers), SAMPLES_A_REQUEST):
        batch = answers[start : start + SAMPLES_A_REQUEST]
        samples = [{"prompt": each.task, "language": each.language, "code": each.code} for each in batch]
        reply = await http.post("/score", json={"run": run, "samples": samples})
        results = ScoreResponse.model_validate_json(reply.raise_for_status().content).results
        for answer, result in zip(batch, results, strict=True):
            if not isinstance(result, Scored):
                raise SystemExit(f"{name}: a sample was not marked: {result.error.detail}")
            floor += exact(answer.code) if result.source is Source.TEACHER else 0
            rejected += result.source is Source.HEURISTIC
    stats = Stats.model_validate_json((await http.get("/stats", params={"run": run})).raise_for_status().content)
    row = _row(name, stats.runs[run], floor, rejected)
    if row.tokens != _billed(emulator, begin):
        raise SystemExit(f"{name}: the ledger has {row.tokens}, the emulator billed {_billed(emulator, begin)}")
    return row


def _row(name: str, counters: Counters, floor: int, rejected: int) -> Row:
    read, written = counters.cache_read_input_tokens, counters.cache_creation_input_tokens
    plain = counters.api_tokens_sent - read - written
    tokens = Tokens(plain, counters.api_tokens_received, read, cache_write_5m=written)
    return Row(name, counters.samples, counters.teacher_calls, tokens, floor, rejected)


def _billed(emulator: Emulator, begin: int) -> Tokens:
    bills = [entry.bill for entry in emulator.settle()[begin:] if entry.bill is not None]
    return Tokens(
        input=sum(bill.input_tokens for bill in bills),
        output=sum(bill.output_tokens for bill in bills),
        cache_read=sum(bill.cache_read_input_tokens for bill in bills),
        cache_write_5m=sum(bill.cache_write_5m for bill in bills),
        cache_write_1h=sum(bill.cache_write_1h for bill in bills),
    )


def uncached(row: Row, name: str) -> Row:
    """The same calls, had nobody marked the rubric for the prompt cache: every input token at full price."""
    return replace(row, name=name, tokens=Tokens(input=row.tokens.sent, output=row.tokens.output))


async def rows(emulator: Emulator, answers: Sequence[ScoredRequest], **billing: Any) -> list[Row]:
    [before] = await measure(emulator, BEFORE, answers, ["before"], **billing)
    [start] = await measure(emulator, STARTING_POINT, answers, ["starting point, rubric cached"], **billing)
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
            f"| {row.name} | {row.calls / n:.2f} | {row.tokens.sent / n:,.0f} | {row.tokens.output / n:.1f} "
            f"| {row.input_at_price / n:,.0f} | {row.all_at_price / n:,.0f} | {haiku:.4f} | {sonnet:.3f} "
            f"| {row.floor / n:.0f} |"
        )


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """What is asked of the table, and whether it holds."""
    before, _, start, ours, whole, again = rows
    saved, with_output = (1 - share for share in _shares(ours, before.input_at_price, before.all_at_price))
    over, over_all = _shares(ours, ours.floor, ours.floor)
    yield f"ours: input {saved:.1%} below before by price (at least 90 %: {_holds(saved >= 0.90)})"
    yield f"ours: {with_output:.1%} below before with output (at least 88 %: {_holds(with_output >= 0.88)})"
    yield f"ours: input {over:.2f} x the floor (at most 1.7: {_holds(over <= 1.7)}), with output {over_all:.2f} x"
    saved, with_output = (1 - share for share in _shares(whole, before.input_at_price, before.all_at_price))
    over, _ = _shares(whole, whole.floor, whole.floor)
    yield f"whole task: input {saved:.1%} below before by price, {with_output:.1%} with output, {over:.2f} x the floor"
    less = 1 - ours.all_at_price / start.all_at_price
    yield f"ours: {less:.1%} below the starting point with its rubric cached, output included"
    spent = again.tokens.sent + again.tokens.output
    yield f"second epoch: {spent} tokens, {again.calls} calls (none: {_holds(spent == again.calls == 0)})"
    yield f"the tier rejected {ours.rejected} of {ours.samples} samples, {again.rejected} the second time"


def _shares(row: Row, of_input: float, of_all: float) -> tuple[float, float]:
    return row.input_at_price / of_input, row.all_at_price / of_all


def _holds(fact: bool) -> str:
    return "holds" if fact else "DOES NOT HOLD"


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens", description=__doc__)
    parser.add_argument("--tasks", type=int, default=88, help="tasks, with 4 samples each")
    options = parser.parse_args()
    begun = time.monotonic()
    answers = workload(options.tasks)
    print(describe(answers), flush=True)
    with Emulator() as emulator:
        for overhead in (0, 250):
            print(f"\nA structured-output overhead of {overhead} tokens a call:\n", flush=True)
            billing = {"structured_output_overhead": overhead, "overhead_always": True}
            found = await rows(emulator, answers, **billing)
            print(*table(found), "", *verdicts(found), sep="\n", flush=True)
        print("\nDrift of a sample's mark between groups (standard deviation, marks from 0 to 1):\n")
        print(*[line async for line in drifts(emulator, answers)], sep="\n")
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
