"""`stats`: what a running service has counted, as tables for people or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator

from markbook.config.loading import ConfigError
from markbook.contract import BudgetState, Counters, Source, Stats
from markbook.scoring.api.suggestions import did_you_mean
from markbook.scoring.cli import Subparsers, add_command, table
from markbook.scoring.cli.client import add_service, dollars, service, since
from markbook.terminal import printable

_MIB = 1024 * 1024


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "stats",
        "Asks a running service what was asked of it, where the marks came from and what they cost, by run. It counts "
        "in the book, so all services on one book say the same.",
        "stats",
        "stats --run demo --since 24h",
        "stats --url http://marks.example:8000 --json > stats.json",
    )
    add_service(parser)
    parser.add_argument("--run", dest="only", metavar="NAME", help="only this run")
    parser.add_argument("--since", metavar="TIME", type=since, help="only what came from then on: 2026-11-22, 24h, 7d")
    parser.add_argument("--json", action="store_true", help="the service's answer as it is")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with service(arguments) as client:
        stats = client.stats(arguments.only, arguments.since)
        if arguments.only and stats.runs.get(arguments.only, Counters()) == Counters():
            _check_it_is_a_run(arguments.only, client.stats().runs)
    print(stats.model_dump_json(indent=2) if arguments.json else printable("\n".join(_lines(stats))))
    return 0


def _check_it_is_a_run(name: str, runs: Collection[str]) -> None:
    """A run that asks for nothing yet has zeros on the wire, as a trainer may look before it asks. Raises ConfigError.

    A run that did ask has a line among all `runs`, whatever the time that was asked about.
    """
    if name not in runs:
        raise ConfigError(f"there is no run {name}{did_you_mean(name, runs) or ': nothing was asked for yet'}")


def _lines(stats: Stats) -> Iterator[str]:
    yield f"teacher  {stats.teacher.name}: {stats.teacher.description}"
    if stats.cache is not None:
        yield f"book     {stats.cache.entries:,} marks, {stats.cache.bytes / _MIB:,.1f} MiB"
    yield f"since    {stats.since}"
    yield ""
    names = [source.value.upper() for source in Source]
    rows = [["RUN", "SAMPLES", *names, "UNSCORED", "CALLS", "TOKENS IN", "TOKENS OUT", "TOKENS SAVED", "COST"]]
    rows += [_row(name, counters) for name, counters in stats.runs.items()]
    if len(stats.runs) != 1:
        rows.append(_row("all", stats.totals))
    yield from table(rows, numbers_from=1)
    for name, counters in stats.runs.items():
        if counters.unscored:
            why = ", ".join(f"{code} {count:,}" for code, count in counters.unscored_by_code.items())
            yield f"unscored in {name}: {why}"
        if calls := counters.usage_unknown_calls:
            most = dollars(counters.usage_unknown_cost_usd)
            yield f"bills unknown in {name}: {calls:,} calls, at most {counters.usage_unknown_tokens:,} tokens, {most}"
    limited = {scope: state for scope, state in stats.budgets.items() if _is_limited(state)}
    if limited:
        yield ""
        rows = [["BUDGET", "SPENT", "LIMIT", "TOKENS", "LIMIT"]]
        rows += [_budget_row(scope, state) for scope, state in limited.items()]
        yield from table(rows, numbers_from=1)


def _row(name: str, counters: Counters) -> list[str]:
    counts = [
        counters.samples,
        *(counters.by_source.get(source, 0) for source in Source),
        counters.unscored,
        counters.teacher_calls,
        counters.api_tokens_sent,
        counters.api_tokens_received,
        counters.tokens_saved,
    ]
    return [name, *(f"{count:,}" for count in counts), dollars(counters.cost_usd)]


def _is_limited(state: BudgetState) -> bool:
    return state.limit_usd is not None or state.limit_tokens is not None


def _budget_row(scope: str, state: BudgetState) -> list[str]:
    usd = "" if state.limit_usd is None else dollars(state.limit_usd)
    tokens = "" if state.limit_tokens is None else f"{state.limit_tokens:,}"
    return [scope, dollars(state.spent_usd), usd, f"{state.spent_tokens:,}", tokens]
