"""`markbook estimate`: what the marks of a training run would cost. Needs no network and no key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from pydantic import ValidationError

from markbook.cli.files import read_text
from markbook.cli.options import ConfigOption, JsonOption, new_app, positive, table
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.contract import Source, Stats
from markbook.scoring.budgets.cost_estimate import (
    Assumptions,
    Forecast,
    Plan,
    forecast,
    is_batched,
    is_cached,
)
from markbook.scoring.cli.client import dollars
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.tasks import TaskLine, parse_tasks

STUDENT_TOKEN = 1.3
"""Tokens of the teacher for one of the student, at most: the teacher's tokenizer cuts code
finer.
"""
PROSE = (7 / 8, 1.0, 7 / 6)
"""True tokens over estimated ones: the rubric, which is prose, has fewer, tasks with code in
them have more.
"""

REJECTED = (0.4, 0.1, 0.0)
"""Share of the samples that the heuristic tier rejects."""
FAILED = (0.8, 0.4, 0.0)
"""Share of the others that fail a test, where their task has any."""
REUSED = (0.2, 0.0, 0.0)
"""Share of those that are left whose mark is stored."""

MAX_CODE_TOKENS = 1_000_000
"""Of one sample, the context of the largest models."""
MAX_RUN = 1_000_000
"""Steps, samples per task or passes: a larger number is a mistake."""

app = new_app(
    "Estimates what the marks of a training run would cost: calls, tokens and dollars, with a low "
    "and a high bound and the assumptions. Requests are rendered as the service would, their "
    "tokens estimated and priced by the configuration. Needs no network and no key, and costs "
    "nothing.",
    "markbook estimate demo/tasks/train.jsonl",
    "markbook estimate tasks.jsonl --epochs 3 --samples 8 --code-tokens 250",
    "markbook estimate tasks.jsonl --stats stats.json",
    "markbook estimate demo/tasks/eval.jsonl --epochs 2 --samples 4",
    notes="stats.json comes from an earlier run: `markbook stats --run NAME --json`.\n"
    "The last example estimates the evaluations before and after a run.",
)


@app.command()
def estimate(
    tasks: Annotated[str, typer.Argument(help="Lines of {prompt, language}; - for stdin.")],
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_RUN,
            help="Samples per task (default: rlaif.num_samples_per_prompt).",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_RUN, help="Steps (default: training.max_steps)."),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            parser=positive(MAX_RUN),
            help="Passes over all tasks, in place of --steps.",
        ),
    ] = None,
    code_tokens: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            parser=positive(MAX_CODE_TOKENS),
            help="Mean tokens of a sample's code (default: a quarter, half and all of "
            "training.max_new_tokens).",
        ),
    ] = None,
    stats: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Shares of an earlier run: what stats --json printed."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    if steps is not None and epochs is not None:
        raise ConfigError("--steps and --epochs exclude each other: give one of them")
    settings = load_config(config)
    rubric = load_rubric(settings.teacher.rubric)
    plan = _plan(_tasks(tasks), samples, steps, epochs, settings)
    bounds = assumptions(plan, settings, code_tokens, _shares(stats) if stats else None)
    found = [forecast(plan, each, settings, rubric) for each in bounds]
    if as_json:
        print(json.dumps(_as_json(plan, found, bounds, settings), indent=2))
    else:
        print(*_report(tasks, plan, found, bounds, settings, rubric), sep="\n")


@dataclass(frozen=True, slots=True)
class Shares:
    """`rejected`, `failed`: of all samples, by the heuristic tier and by tests; `reused`: of the
    others.
    """

    rejected: float
    failed: float
    reused: float


def assumptions(
    plan: Plan, config: Config, code_tokens: float | None = None, shares: Shares | None = None
) -> tuple[Assumptions, Assumptions, Assumptions]:
    """Low, likely and high. `shares`: those of an earlier run."""
    most = config.training.max_new_tokens
    codes = (most / 4, most / 2, most * STUDENT_TOKEN)
    calls = plan.groups * -(-plan.samples // config.teacher.max_group_size)
    # requests of a batch are spread over time, so that each may find the cache cold
    writes = (1, 1, calls if is_batched(config) else plan.steps)
    room = (0.0, 0.1, 1.0)

    def at(bound: int) -> Assumptions:
        known = shares or _guess(bound, plan, config)
        return Assumptions(
            code_tokens=codes[bound] if code_tokens is None else code_tokens,
            rejected=known.rejected,
            reused=known.reused,
            text_factor=PROSE[bound],
            rubric_writes=writes[bound],
            room_used=room[bound],
            failed=known.failed,
        )

    return at(0), at(1), at(2)


def _guess(bound: int, plan: Plan, config: Config) -> Shares:
    """Without an earlier run. `bound`: 0 is low."""
    rlaif = config.rlaif
    rejected = REJECTED[bound] if rlaif.use_tiered_scoring else 0.0
    tests_decide = rlaif.use_tests and rlaif.tests_policy == "gate"
    failed = (1 - rejected) * plan.tested * FAILED[bound] if tests_decide else 0.0
    return Shares(rejected, failed, REUSED[bound])


def _plan(
    tasks: list[TaskLine],
    samples: int | None,
    steps: int | None,
    epochs: float | None,
    config: Config,
) -> Plan:
    per_step = config.training.prompts_per_step
    if epochs is None:
        steps = steps or config.training.max_steps
        groups = steps * per_step
    else:
        groups = max(round(epochs * len(tasks)), 1)
        steps = -(-groups // per_step)
    shown = [(task.prompt, task.language) for task in tasks]
    tested = sum(bool(task.tests) for task in tasks) / len(tasks)
    return Plan(shown, groups, samples or config.rlaif.num_samples_per_prompt, steps, tested)


def _as_json(
    plan: Plan, found: list[Forecast], bounds: tuple[Assumptions, ...], config: Config
) -> dict[str, object]:
    shown = {
        bound: {
            "samples_judged": each.judged,
            "teacher_calls": each.calls,
            "tokens_sent": each.tokens.sent,
            "tokens_from_prompt_cache": each.tokens.cache_read,
            "tokens_received": each.tokens.output,
            "cost_usd": each.usd,
            "assumed": asdict(assumed),
        }
        for bound, each, assumed in zip(("low", "likely", "high"), found, bounds, strict=True)
    }
    counts = {
        "tasks": len(plan.tasks),
        "groups": plan.groups,
        "steps": plan.steps,
        "samples_per_group": plan.samples,
    }
    return {"model": config.teacher.model, "batch": is_batched(config), **counts, **shown}


def _report(
    name: str,
    plan: Plan,
    found: list[Forecast],
    bounds: tuple[Assumptions, ...],
    config: Config,
    rubric: Rubric,
) -> Iterator[str]:
    model, price = config.teacher.model, config.teacher.price()
    yield (
        f"{name}: {len(plan.tasks):,} tasks; {plan.groups:,} groups of {plan.samples} samples in "
        f"{plan.steps:,} steps: {plan.groups * plan.samples:,} samples"
    )
    if price is None:
        yield f"teacher: {model}, whose price is unknown: set it under teacher.prices"
    else:
        factor = f", times {price.batch:g} in batches" if is_batched(config) else ""
        yield (
            f"teacher: {model}, ${price.input:g} per million tokens sent, ${price.output:g} "
            f"received{factor}"
        )
    if config.teacher.name == "static":
        yield f"teacher.name is static, the free stub; this is what {model} would cost"
    yield ""
    yield from table([["", "LOW", "LIKELY", "HIGH"], *_rows(found)], numbers_from=1)
    yield ""
    yield from _assumed(bounds, config, rubric)


def _rows(forecasts: list[Forecast]) -> Iterator[list[str]]:
    def row(name: str, value: Callable[[Forecast], float]) -> list[str]:
        return [name, *(f"{value(each):,.0f}" for each in forecasts)]

    yield row("samples judged", lambda each: each.judged)
    yield row("teacher calls", lambda each: each.calls)
    yield row("tokens sent", lambda each: each.tokens.sent)
    yield row("  from the prompt cache", lambda each: each.tokens.cache_read)
    yield row("tokens received", lambda each: each.tokens.output)
    yield ["cost", *(dollars(each.usd) for each in forecasts)]


def _assumed(bounds: tuple[Assumptions, ...], config: Config, rubric: Rubric) -> Iterator[str]:
    def three(value: Callable[[Assumptions], str]) -> str:
        values = [value(each) for each in bounds]
        return values[0] if len(set(values)) == 1 else " / ".join(values)

    rlaif = config.rlaif
    yield "assumed (low / likely / high, or one for all):"
    yield f"  code per sample: {three(lambda each: f'{each.code_tokens:,.0f}')} tokens"
    yield (
        f"  the heuristic tier rejects {three(lambda each: f'{each.rejected:.0%}')} of the samples"
    )
    yield f"  a failed test decides {three(lambda each: f'{each.failed:.0%}')} of them"
    if is_batched(config):
        yield "  in batches (teacher.batch), which have no audits"
    elif rlaif.heuristic_audit_rate or rlaif.tests_audit_rate:
        yield (
            f"  audits: {rlaif.heuristic_audit_rate:.0%} of the rejected and "
            f"{rlaif.tests_audit_rate:.0%} of the failed samples are judged as well"
        )
    yield (
        f"  of the others {three(lambda each: f'{each.reused:.0%}')} are cached or already in "
        "flight"
    )
    yield (
        f"  a task's samples are judged together, at most {config.teacher.max_group_size} per call"
    )
    if is_cached(config, rubric):
        writes = three(lambda each: f"{each.rubric_writes:,}")
        yield f"  the rubric is in the prompt cache, written in {writes} calls"
    else:
        why = (
            "too short for the model's prompt cache"
            if config.rlaif.move_rubric_to_system_prompt
            else "in the message"
        )
        yield f"  the rubric is {why}, so every call pays for it in full"
    yield (
        f"  replies use {three(lambda each: f'{each.room_used:.0%}')} of their token limit, "
        "thinking included"
    )
    yield "  no retries; evaluations are not included (see --help)"


def _tasks(name: str) -> list[TaskLine]:
    return [task for _, task in parse_tasks(read_text(name).replace("\r\n", "\n"), name)]


def _shares(name: str) -> Shares:
    try:
        stats = Stats.model_validate_json(read_text(name), extra="ignore")
    except ValidationError as error:
        raise ConfigError(
            f"{name} is not what stats --json prints: {error.errors()[0]['msg']}"
        ) from error
    [counters] = stats.runs.values() if len(stats.runs) == 1 else [stats.totals]
    scored = sum(counters.by_source.values())
    rejected = counters.by_source.get(Source.HEURISTIC, 0)
    failed = counters.by_source.get(Source.TESTS, 0)
    left = scored - rejected - failed
    if not left:
        raise ConfigError(
            f"{name} has no sample that passed the heuristic tier and its tests, so it says "
            "nothing about cost"
        )
    judged = counters.by_source.get(Source.TEACHER, 0)
    return Shares(rejected / scored, failed / scored, 1 - judged / left)
