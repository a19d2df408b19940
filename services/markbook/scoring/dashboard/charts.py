"""The dashboard's charts and their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from markbook.scoring.dashboard import formatting, latency
from markbook.scoring.dashboard.svg import Chart, Series, bars, lines
from markbook.scoring.dashboard.totals import (
    Totals,
    cost_nusd,
    hits,
    lookups,
    tokens_sent,
    total_tokens,
)
from markbook.scoring.store import CounterTotals

NAMED_RUNS = 5
OTHERS = "other runs"
_SOURCES = {
    "cache": ("cache hit", "good"),
    "coalesced": ("coalesced", "calm"),
    "teacher": ("teacher", "warm"),
    "tests": ("failed its tests", "five"),
    "heuristic": ("heuristic tier", "rest"),
    "unscored": ("unscored", "bad"),
}
_KINDS = {
    "cache_read_input_tokens": ("prompt cache read", "good"),
    "cache_creation_input_tokens": ("prompt cache write", "calm"),
    "input_tokens": ("other input", "warm"),
    "output_tokens": ("output", "bad"),
}
TONES = ("one", "two", "three", "four", "five")


def build_charts(totals: Totals, link: Callable[[str], str]) -> list[Chart]:
    """`link` maps a run to the URL of its page."""
    time_range = totals.time_range
    return [
        bars(
            "tokens",
            "Tokens by run",
            "sent and received",
            time_range,
            _by_run(totals, total_tokens, _tokens, link),
            formatting.compact,
        ),
        bars(
            "dollars",
            "Dollars by run",
            "US dollars",
            time_range,
            _by_run(totals, _dollars, formatting.usd, link),
            _axis_usd,
            0.0,
        ),
        bars(
            "samples",
            "Samples by source",
            "samples",
            time_range,
            _columns(totals, _SOURCES),
            formatting.compact,
        ),
        bars(
            "kinds",
            "Tokens by kind",
            "tokens",
            time_range,
            _columns(totals, _KINDS),
            formatting.compact,
        ),
        bars(
            "saved",
            "Tokens sent and saved",
            "input tokens",
            time_range,
            _saved(totals),
            formatting.compact,
        ),
        lines(
            "hits",
            "Hit rate",
            "% of samples not rejected for free",
            time_range,
            [_hit_rate(totals)],
            _axis_percent,
            100.0,
        ),
        lines(
            "latency",
            "Teacher latency",
            "seconds per answered call",
            time_range,
            _latency(totals),
            _axis_seconds,
        ),
        bars(
            "errors",
            "Unscored by reason",
            "samples",
            time_range,
            _unscored(totals),
            formatting.compact,
        ),
    ]


def _by_run(
    totals: Totals,
    value: Callable[[CounterTotals], float],
    format_value: Callable[[float], str],
    link: Callable[[str], str],
) -> list[Series]:
    """The runs with the highest cost, and all others as one series."""
    named = [*totals.runs][:NAMED_RUNS]
    others = [*totals.runs][NAMED_RUNS:]
    series = [
        _series(totals, run, tone, [run], value, format_value, link(run))
        for run, tone in zip(named, TONES, strict=False)
    ]
    return (
        [*series, _series(totals, OTHERS, "rest", others, value, format_value)]
        if others
        else series
    )


def _series(
    totals: Totals,
    name: str,
    tone: str,
    runs: Sequence[str],
    value: Callable[[CounterTotals], float],
    format_value: Callable[[float], str],
    link: str | None = None,
) -> Series:
    values: list[float] = [0] * totals.time_range.buckets
    for run in runs:
        for index, tally in totals.by_run[run].items():
            values[index] += value(tally)
    return Series(
        name, tone, values, format_value(sum(value(totals.runs[run]) for run in runs)), link
    )


def _columns(totals: Totals, columns: dict[str, tuple[str, str]]) -> list[Series]:
    series = []
    for column, (name, tone) in columns.items():
        values = [tally.counts[column] for tally in totals.buckets]
        series.append(Series(name, tone, values, formatting.count(totals.total.counts[column])))
    return series


def _saved(totals: Totals) -> list[Series]:
    saved = [
        max(0, tally.counts["baseline_tokens"] - tokens_sent(tally)) for tally in totals.buckets
    ]
    total = totals.counters
    return [
        Series(
            "sent",
            "warm",
            [tokens_sent(tally) for tally in totals.buckets],
            formatting.count(total.api_tokens_sent),
        ),
        Series("saved (estimated)", "good", saved, formatting.count(total.tokens_saved)),
    ]


def _hit_rate(totals: Totals) -> Series:
    rates = [
        100 * hits(tally) / lookups(tally) if lookups(tally) else None for tally in totals.buckets
    ]
    return Series(
        "hit rate", "good", rates, formatting.percent(hits(totals.total), lookups(totals.total))
    )


def _latency(totals: Totals) -> list[Series]:
    series = []
    for name, tone, share in (("p50", "calm", 0.5), ("p95", "warm", 0.95)):
        values = [_seconds(latency.quantile(tally.counts, share)) for tally in totals.buckets]
        overall = latency.quantile(totals.total.counts, share)
        series.append(Series(name, tone, values, formatting.seconds(overall)))
    return series


def _unscored(totals: Totals) -> list[Series]:
    tones = ("bad", "warm", "one", "five", "calm", "good", "two", "rest")
    codes = sorted(totals.total.failures.items(), key=itemgetter(1), reverse=True)
    series = []
    for (code, number), tone in zip(codes, tones, strict=False):  # rarer codes are left out
        values = [tally.failures[code] for tally in totals.buckets]
        series.append(Series(code, tone, values, formatting.count(number)))
    return series


def _dollars(tally: CounterTotals) -> float:
    return cost_nusd(tally) / 1e9


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
