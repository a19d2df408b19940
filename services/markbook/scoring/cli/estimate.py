"""`estimate`: what a training run would cost, before it is started. Asks nobody, needs no network and no key."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.contract import Source, Stats
from markbook.scoring.budgets.cost_estimate import Assumptions, Forecast, Plan, forecast, is_cached
from markbook.scoring.cli import Subparsers, add_command, add_config, table
from markbook.scoring.cli.client import dollars
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.tasks import parse_tasks

STUDENT_TOKEN = 1.3
"""Tokens of the teacher for one of the student, at most: the teacher's tokenizer cuts code finer."""
PROSE = (7 / 8, 1.0, 7 / 6)
"""True tokens over estimated ones: the rubric, which is prose, has fewer, tasks with code in them have more."""


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "estimate",
        "Tells what marks for a training run would cost: calls, tokens and dollars, between a low and a high bound, "
        "with what is assumed. The requests are rendered as the service would, counted by its estimate and priced by "
        "the configuration. Asks nobody, so it costs nothing and needs no key.",
        "estimate demo/tasks/train.jsonl",
        "estimate tasks.jsonl --epochs 3 --samples 8 --code-tokens 250",
        "estimate tasks.jsonl --stats stats.json    # an earlier run's shares, from stats --run NAME --json",
        "estimate demo/tasks/eval.jsonl --epochs 2 --samples 4    # the evaluations before and after a run",
    )
    parser.add_argument("tasks", metavar="TASKS.jsonl", help="lines of {prompt, language}; - for standard input")
    parser.add_argument(
        "--samples", metavar="N", type=_positive(int), help="samples per task (default: rlaif.num_samples_per_prompt)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=_positive(int), help="steps (default: training.max_steps)")
    length.add_argument("--epochs", metavar="X", type=_positive(float), help="times that all tasks are gone through")
    parser.add_argument(
        "--code-tokens",
        metavar="N",
        type=_positive(float),
        help="mean tokens of a sample's code (default: a quarter, half and all of training.max_new_tokens)",
    )
    parser.add_argument("--stats", metavar="FILE", help="shares of an earlier run: what stats --json printed")
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    rubric = load_rubric(config.teacher.rubric)
    plan = _plan(arguments, config)
    shares = _shares(arguments.stats) if arguments.stats else None
    several = assumptions(plan, config, arguments.code_tokens, shares)
    print(*_report(arguments, plan, several, config, rubric), sep="\n")
    return 0


def assumptions(
    plan: Plan, config: Config, code_tokens: float | None = None, shares: tuple[float, float] | None = None
) -> tuple[Assumptions, Assumptions, Assumptions]:
    """Low, likely and high. `shares`: of samples that the tier rejects, of the others that are in the book."""
    most = config.training.max_new_tokens
    codes = (most / 4, most / 2, most * STUDENT_TOKEN) if code_tokens is None else (code_tokens,) * 3
    tier = config.rlaif.use_tiered_scoring
    rejected = ((0.4, 0.1, 0.0) if tier else (0.0,) * 3) if shares is None else (shares[0],) * 3
    reused = (0.2, 0.0, 0.0) if shares is None else (shares[1],) * 3
    writes, room = (1, 1, plan.steps), (0.0, 0.1, 1.0)
    low, likely, high = map(Assumptions, codes, rejected, reused, PROSE, writes, room)
    return low, likely, high


def _plan(arguments: argparse.Namespace, config: Config) -> Plan:
    tasks = _tasks(arguments.tasks)
    a_step = config.training.prompts_per_step
    if arguments.epochs is None:
        steps = arguments.steps or config.training.max_steps
        groups = steps * a_step
    else:
        groups = max(round(arguments.epochs * len(tasks)), 1)
        steps = -(-groups // a_step)
    return Plan(tasks, groups, arguments.samples or config.rlaif.num_samples_per_prompt, steps)


def _report(
    arguments: argparse.Namespace, plan: Plan, several: tuple[Assumptions, ...], config: Config, rubric: Rubric
) -> Iterator[str]:
    model, price = config.teacher.model, config.teacher.price()
    yield (
        f"{arguments.tasks}: {len(plan.tasks):,} tasks; {plan.groups:,} groups of {plan.samples} samples in "
        f"{plan.steps:,} steps: {plan.groups * plan.samples:,} samples"
    )
    if price is None:
        yield f"teacher: {model}, whose price is not known: set it under teacher.prices"
    else:
        yield f"teacher: {model}, ${price.input:g} a million tokens sent, ${price.output:g} received"
    if config.teacher.name == "static":
        yield f"teacher.name is static now, the stand-in, which costs nothing: this is what {model} would cost"
    yield ""
    found = [forecast(plan, each, config, rubric) for each in several]
    yield from table([["", "LOW", "LIKELY", "HIGH"], *_rows(found)], numbers_from=1)
    yield ""
    yield from _assumed(several, config, rubric)


def _rows(forecasts: list[Forecast]) -> Iterator[list[str]]:
    def row(name: str, value: Callable[[Forecast], float]) -> list[str]:
        return [name, *(f"{value(each):,.0f}" for each in forecasts)]

    yield row("samples judged", lambda each: each.judged)
    yield row("teacher calls", lambda each: each.calls)
    yield row("tokens sent", lambda each: each.tokens.sent)
    yield row("  from the prompt cache", lambda each: each.tokens.cache_read)
    yield row("tokens received", lambda each: each.tokens.output)
    yield ["cost", *(dollars(each.usd) for each in forecasts)]


def _assumed(several: tuple[Assumptions, ...], config: Config, rubric: Rubric) -> Iterator[str]:
    def three(value: Callable[[Assumptions], str]) -> str:
        values = [value(each) for each in several]
        return values[0] if len(set(values)) == 1 else " / ".join(values)

    yield "assumed (low / likely / high, or one for all):"
    yield f"  a sample's code has {three(lambda each: f'{each.code_tokens:,.0f}')} tokens"
    yield f"  the tiers reject {three(lambda each: f'{each.rejected:.0%}')} of the samples"
    yield f"  of the others {three(lambda each: f'{each.reused:.0%}')} are in the book or in a call already"
    yield f"  a task's samples go to the teacher together, at most {config.teacher.max_group_size} in a call"
    if is_cached(config, rubric):
        writes = three(lambda each: f"{each.rubric_writes:,}")
        yield f"  the rubric is in the prompt cache; it is written there in {writes} calls"
    else:
        why = (
            "too short for the model's prompt cache" if config.rlaif.move_rubric_to_system_prompt else "in the message"
        )
        yield f"  the rubric is {why}, so it is paid in full in every call"
    yield f"  replies use {three(lambda each: f'{each.room_used:.0%}')} of the room that they have, thinking included"
    yield "  nothing is asked again; evaluations are not in it (see --help)"


def _tasks(name: str) -> list[tuple[str, str]]:
    return [(task.prompt, task.language) for _, task in parse_tasks(_text(name), name)]


def _shares(name: str) -> tuple[float, float]:
    try:
        stats = Stats.model_validate_json(_text(name), extra="ignore")
    except ValidationError as error:
        raise ConfigError(f"{name} is not what stats --json prints: {error.errors()[0]['msg']}") from error
    [counters] = stats.runs.values() if len(stats.runs) == 1 else [stats.totals]
    scored = sum(counters.by_source.values())
    rejected = sum(counters.by_source.get(source, 0) for source in (Source.HEURISTIC, Source.TESTS))
    if scored == rejected:
        raise ConfigError(f"{name} tells of no sample that passed the heuristic tier: it is no measure")
    judged = counters.by_source.get(Source.TEACHER, 0)
    return rejected / scored, 1 - judged / (scored - rejected)


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text") from error


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return read
