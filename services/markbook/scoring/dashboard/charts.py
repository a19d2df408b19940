"""Which charts the page has, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from markbook.scoring.dashboard import formatting, latency
from markbook.scoring.dashboard.svg import Chart, Series, bars, lines
from markbook.scoring.dashboard.totals import Account, asked, hits, nusd, sent, tokens
from markbook.scoring.store import CounterTotals

NAMED_RUNS = 5
OTHERS = "other runs"
_SOURCES = {
    "cache": ("from the book", "good"),
    "coalesced": ("asked by another", "calm"),
    "teacher": ("teacher", "warm"),
    "tests": ("failed its tests", "five"),
    "heuristic": ("heuristic tier", "rest"),
    "unscored": ("unscored", "bad"),
}
_KINDS = {
    "cache_read_input_tokens": ("read from the prompt cache", "good"),
    "cache_creation_input_tokens": ("written to it", "calm"),
    "input_tokens": ("other input", "warm"),
    "output_tokens": ("output", "bad"),
}
_TONES = ("one", "two", "three", "four", "five")


def build_charts(account: Account, link: Callable[[str], str]) -> list[Chart]:
    """`link` leads to the page of one run."""
    frame = account.frame
    return [
        bars(
            "tokens",
            "Tokens by run",
            "sent and received",
            frame,
            _by_run(account, tokens, _tokens, link),
            formatting.compact,
        ),
        bars(
            "dollars",
            "Dollars by run",
            "US dollars",
            frame,
            _by_run(account, _dollars, formatting.usd, link),
            _axis_usd,
            0.0,
        ),
        bars("samples", "Samples by source", "samples", frame, _columns(account, _SOURCES), formatting.compact),
        bars("kinds", "Tokens by kind", "tokens", frame, _columns(account, _KINDS), formatting.compact),
        bars("saved", "Tokens sent and saved", "input tokens", frame, _saved(account), formatting.compact),
        lines(
            "hits",
            "Hit rate",
            "% of samples not rejected for free",
            frame,
            [_hit_rate(account)],
            _axis_percent,
            100.0,
        ),
        lines("latency", "Teacher latency", "seconds an answered call took", frame, _latency(account), _axis_seconds),
        bars("errors", "Unscored by reason", "samples", frame, _unscored(account), formatting.compact),
    ]


def _by_run(
    account: Account, value: Callable[[CounterTotals], float], say: Callable[[float], str], link: Callable[[str], str]
) -> list[Series]:
    """The first runs, and all others together."""
    named = [*account.runs][:NAMED_RUNS]
    others = [*account.runs][NAMED_RUNS:]
    series = [
        _series(account, run, tone, [run], value, say, link(run)) for run, tone in zip(named, _TONES, strict=False)
    ]
    return [*series, _series(account, OTHERS, "rest", others, value, say)] if others else series


def _series(
    account: Account,
    name: str,
    tone: str,
    runs: Sequence[str],
    value: Callable[[CounterTotals], float],
    say: Callable[[float], str],
    link: str | None = None,
) -> Series:
    values: list[float] = [0] * account.frame.buckets
    for (index, run), tally in account.cells.items():
        if run in runs:
            values[index] += value(tally)
    return Series(name, tone, values, say(sum(value(account.runs[run]) for run in runs)), link)


def _columns(account: Account, columns: dict[str, tuple[str, str]]) -> list[Series]:
    series = []
    for column, (name, tone) in columns.items():
        values = [tally.counts[column] for tally in account.buckets]
        series.append(Series(name, tone, values, formatting.count(account.total.counts[column])))
    return series


def _saved(account: Account) -> list[Series]:
    saved = [max(0, tally.counts["baseline_tokens"] - sent(tally)) for tally in account.buckets]
    total = account.counters
    return [
        Series("sent", "warm", [sent(tally) for tally in account.buckets], formatting.count(total.api_tokens_sent)),
        Series("saved (estimated)", "good", saved, formatting.count(total.tokens_saved)),
    ]


def _hit_rate(account: Account) -> Series:
    rates = [100 * hits(tally) / asked(tally) if asked(tally) else None for tally in account.buckets]
    return Series("hit rate", "good", rates, formatting.percent(hits(account.total), asked(account.total)))


def _latency(account: Account) -> list[Series]:
    series = []
    for name, tone, share in (("half of them within", "calm", 0.5), ("95 % within", "warm", 0.95)):
        values = [_seconds(latency.quantile(tally.counts, share)) for tally in account.buckets]
        overall = latency.quantile(account.total.counts, share)
        series.append(Series(name, tone, values, formatting.seconds(overall)))
    return series


def _unscored(account: Account) -> list[Series]:
    tones = ("bad", "warm", "one", "five", "calm", "good", "two", "rest")
    codes = sorted(account.total.failures.items(), key=itemgetter(1), reverse=True)
    series = []
    for (code, number), tone in zip(codes, tones, strict=False):  # the rarest codes are left out, if there are more
        values = [tally.failures[code] for tally in account.buckets]
        series.append(Series(code, tone, values, formatting.count(number)))
    return series


def _dollars(tally: CounterTotals) -> float:
    return nusd(tally) / 1e9


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _tokens(number: float) -> str:
    return formatting.count(round(number))


def _axis_usd(dollars: float) -> str:
    return f"${formatting.compact(dollars)}"


def _axis_percent(share: float) -> str:
    return f"{share:.0f}{formatting.NBSP}%"


def _axis_seconds(seconds: float) -> str:
    return f"{formatting.compact(seconds)}{formatting.NBSP}s"
