"""The bill for a workload: samples through the whole service and the SDK to the emulator, with
one set of settings.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.workload import TEXTS, ScoredRequest
from markbook.config.loading import parse_config
from markbook.config.settings import PRICES_OF_2026_11
from markbook.contract import Counters, SampleTests, Scored, ScoreResponse, Source, Stats
from markbook.scoring.app import create_app
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.pricing import Tokens, billed_input_equivalent
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
"""Its rule rejects cut code now and then and no other kind of fault, so no tier is the nearest
of our settings.
"""
OURS: Settings = {}
OURS_WHOLE_TASK: Settings = {"rlaif": {"truncate_prompt_for_scoring": False}}


@dataclass(frozen=True)
class Row:
    """The sums of one way to mark all samples.

    `floor`: code tokens of the samples that a teacher judged.

    Samples that the heuristic tier `rejected`, and, where their tests were run, those that `passed`
    all of them, that `failed` one and that could `not_run`.
    """

    name: str
    samples: int
    calls: int
    tokens: Tokens
    floor: int
    rejected: int = 0
    passed: int = 0
    failed: int = 0
    not_run: int = 0

    @property
    def input_at_price(self) -> float:
        """Input tokens, each kind weighed by its price."""
        return billed_input_equivalent(replace(self.tokens, output=0), HAIKU)

    @property
    def all_at_price(self) -> float:
        return billed_input_equivalent(self.tokens, HAIKU)


async def measure(
    emulator: Emulator,
    settings: Settings,
    answers: Sequence[ScoredRequest],
    names: Sequence[str],
    **billing: Any,
) -> list[Row]:
    """All answers through a fresh service, once for each of `names`: from the second time on its
    store is filled.
    """
    emulator.clear(**billing)
    with tempfile.TemporaryDirectory() as folder:
        teacher = {"name": "anthropic", "base_url": emulator.url, **settings.get("teacher", {})}
        store = {"database_url": f"sqlite:///{Path(folder) / 'book.db'}"}
        config = parse_config({**settings, "teacher": teacher, "store": store})
        rubric = load_rubric(config.teacher.rubric)
        app = create_app(
            config, AnthropicTeacher.from_config(config, rubric, {"ANTHROPIC_API_KEY": "none"})
        )
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://markbook", timeout=None
            ) as http,
        ):
            return [await _epoch(http, emulator, answers, name) for name in names]


async def _epoch(
    http: httpx.AsyncClient, emulator: Emulator, answers: Sequence[ScoredRequest], name: str
) -> Row:
    begin, floor = len(emulator.log), 0
    found: Counter[str] = Counter()
    run = f"after-{begin}-calls"
    for start in range(0, len(answers), SAMPLES_A_REQUEST):
        batch = answers[start : start + SAMPLES_A_REQUEST]
        reply = await http.post(
            "/score", json={"run": run, "samples": [_sample(each) for each in batch]}
        )
        results = ScoreResponse.model_validate_json(reply.raise_for_status().content).results
        for answer, result in zip(batch, results, strict=True):
            if not isinstance(result, Scored):
                raise SystemExit(f"{name}: a sample was not marked: {result.error.detail}")
            floor += exact(answer.code) if result.source is Source.TEACHER else 0
            found["rejected"] += result.source is Source.HEURISTIC
            if result.tests is not None:
                found[_verdict(result.tests)] += 1
    stats = Stats.model_validate_json(
        (await http.get("/stats", params={"run": run})).raise_for_status().content
    )
    row = _row(name, stats.runs[run], floor, found)
    if row.tokens != _billed(emulator, begin):
        raise SystemExit(
            f"{name}: the ledger has {row.tokens}, the emulator billed {_billed(emulator, begin)}"
        )
    return row


def _sample(answer: ScoredRequest) -> dict[str, Any]:
    sample = {"prompt": answer.task, "language": answer.language, "code": answer.code}
    return {**sample, "tests": list(answer.tests)} if answer.tests else sample


def _verdict(tests: SampleTests) -> str:
    if tests.passed < tests.total:
        return "failed"
    return "not_run" if tests.not_run else "passed"


def _row(name: str, counters: Counters, floor: int, found: Mapping[str, int]) -> Row:
    read, written = counters.cache_read_input_tokens, counters.cache_creation_input_tokens
    plain = counters.api_tokens_sent - read - written
    tokens = Tokens(plain, counters.api_tokens_received, read, cache_write_5m=written)
    return Row(name, counters.samples, counters.teacher_calls, tokens, floor, **found)


def _billed(emulator: Emulator, begin: int) -> Tokens:
    bills = [entry.bill for entry in emulator.settle()[begin:] if entry.bill is not None]
    return Tokens(
        input=sum(bill.input_tokens for bill in bills),
        output=sum(bill.output_tokens for bill in bills),
        cache_read=sum(bill.cache_read_input_tokens for bill in bills),
        cache_write_5m=sum(bill.cache_write_5m for bill in bills),
        cache_write_1h=sum(bill.cache_write_1h for bill in bills),
    )


def holds(fact: bool) -> str:
    return "holds" if fact else "DOES NOT HOLD"
