"""`markbook stats`: what a running service has counted, as tables or as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Annotated

import typer

from markbook.cli.options import ConfigOption, JsonOption, new_app, table
from markbook.config.loading import ConfigError
from markbook.contract import BudgetState, Counters, Source, Stats
from markbook.scoring.api.suggestions import did_you_mean
from markbook.scoring.cli.client import UrlOption, dollars, parse_since, service
from markbook.terminal import printable

_MIB = 1024 * 1024
_WIDTH = 80  # columns


app = new_app(
    "Shows what a running service has counted by run: samples, where their marks came from, "
    "teacher calls, tokens and cost. The counts are in the database, so all services on one "
    "database show the same.",
    "markbook stats",
    "markbook stats --run demo --since 24h",
    "markbook stats --url http://marks.example:8000 --json > stats.json",
)


@app.command()
def show_stats(
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Only this run.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME", parser=parse_since, help="Only what came since: 2026-11-22, 24h, 7d."
        ),
    ] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    with service(url, config) as client:
        stats = client.stats(run, since)
        if run and stats.runs.get(run, Counters()) == Counters():
            _check_it_is_a_run(run, client.stats().runs)
    print(stats.model_dump_json(indent=2) if as_json else printable("\n".join(lines(stats))))


def _check_it_is_a_run(name: str, runs: Collection[str]) -> None:
    """Raises ConfigError for a run without requests: on the wire it has zeros, as a trainer may
    look before it starts.

    A run with requests is among all `runs`, whatever the period of the query.
    """
    if name not in runs:
        raise ConfigError(
            f"there is no run {name}{did_you_mean(name, runs) or ': no run has sent a request yet'}"
        )


def lines(stats: Stats) -> Iterator[str]:
    teacher = f"teacher  {stats.teacher.name}: {stats.teacher.description}"
    yield from textwrap.wrap(teacher, _WIDTH, subsequent_indent=" " * len("teacher  "))
    if stats.cache is not None:
        yield f"store    {stats.cache.entries:,} marks, {stats.cache.bytes / _MIB:,.1f} MiB"
    yield f"since    {stats.since}"
    yield ""
    lines = list(stats.runs.items())
    if len(lines) != 1:
        lines.append(("all", stats.totals))
    names = [source.value.upper() for source in Source]
    rows = [
        ["RUN", "SAMPLES", *names, "UNSCORED", "MEAN"],
        *(_sample_row(name, counters) for name, counters in lines),
    ]
    yield from table(rows, numbers_from=1)
    yield ""
    rows = [["RUN", "CALLS", "TOKENS IN", "TOKENS OUT", "TOKENS SAVED", "COST"]]
    rows += [_call_row(name, counters) for name, counters in lines]
    yield from table(rows, numbers_from=1)
    yield from _agreement(stats)
    for name, counters in stats.runs.items():
        if counters.unscored:
            why = ", ".join(
                f"{code} {count:,}" for code, count in counters.unscored_by_code.items()
            )
            yield f"unscored in {name}: {why}"
        if calls := counters.usage_unknown_calls:
            most = dollars(counters.usage_unknown_cost_usd)
            yield (
                f"bills unknown in {name}: {calls:,} calls, at most "
                f"{counters.usage_unknown_tokens:,} tokens, {most}"
            )
    limited = {scope: state for scope, state in stats.budgets.items() if _is_limited(state)}
    if limited:
        yield ""
        rows = [["BUDGET", "SPENT", "LIMIT", "TOKENS", "LIMIT"]]
        rows += [_budget_row(scope, state) for scope, state in limited.items()]
        yield from table(rows, numbers_from=1)


def _agreement(stats: Stats) -> Iterator[str]:
    """How far teachers agree with tests, with what it rests on."""
    if not stats.agreement.counts:
        return
    yield ""
    rows = [["AGAINST TESTS", "MODEL", "RUBRIC", "PASSED", "FAILED", "AGREES", "AUC"]]
    for each in stats.agreement.counts:
        passed, failed = (
            f"{each.passed_agreeing:,}/{each.passed:,}",
            f"{each.failed_agreeing:,}/{each.failed:,}",
        )
        share = f"{_two(each.agreement)} ({_two(each.low)}-{_two(each.high)})"
        rows.append([each.run, each.model, each.rubric, passed, failed, share, _two(each.auc)])
    yield from table(rows, numbers_from=3)
    for name in stats.agreement.low_runs:
        yield f"the teacher agrees with tests less than {stats.agreement.min_agreement:g} in {name}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sample_row(name: str, counters: Counters) -> list[str]:
    by_source = [counters.by_source.get(source, 0) for source in Source]
    mean = "-" if counters.scores.mean is None else f"{counters.scores.mean:.2f}"
    return [
        name,
        *(f"{count:,}" for count in (counters.samples, *by_source, counters.unscored)),
        mean,
    ]


def _call_row(name: str, counters: Counters) -> list[str]:
    counts = [
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
