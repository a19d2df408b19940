"""The dashboard's cards above the charts, the table of runs, and the budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markbook.contract import BudgetState, Counters
from markbook.scoring.api.stats import to_counters
from markbook.scoring.dashboard import formatting, latency
from markbook.scoring.dashboard.savings import Savings, has_money, signed_usd
from markbook.scoring.dashboard.totals import Totals, hits, lookups, total_tokens


@dataclass(frozen=True, slots=True)
class Card:
    """`more`: lines below the number.

    `help`: the id of the note that explains how it is counted; `title`: tooltip.
    """

    name: str
    value: str
    more: tuple[str, ...]
    help: str | None = None
    title: str = "How this is counted"


@dataclass(frozen=True, slots=True)
class RunRow:
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit, and the used share of it in [0, 1]."""

    spent: str
    limit: str
    left: str
    share: float

    @property
    def is_tight(self) -> bool:
        return self.share >= 0.9


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """`kind`: total, key or run. `per`: day or month; None: since the start."""

    kind: str
    name: str
    per: str | None
    meters: tuple[Meter, ...]
    spent: str


RUN_COLUMNS = ("samples", "hit rate", "tokens", "saved", "dollars", "unscored")


def build_cards(totals: Totals, savings: Savings | None, *, is_stub: bool) -> list[Card]:
    """Without the cards of money and calls where only the stub has marked: they would all be
    empty.
    """
    if not has_money(totals.counters, is_stub=is_stub):
        return _sample_cards(totals)
    return [
        *_money_cards(totals.counters, totals, savings),
        *_sample_cards(totals),
        _teacher_card(totals),
    ]


def _money_cards(total: Counters, totals: Totals, savings: Savings | None) -> list[Card]:
    plain = total.tokens_saved + total.api_tokens_sent
    cards: list[Card] = []
    if savings is not None:
        share = formatting.percent(savings.saved_usd, savings.baseline_usd)
        cards.append(
            Card(
                "Dollars saved",
                signed_usd(savings.saved_usd),
                (f"{share} of the baseline",),
                "dollars",
                savings.formula,
            )
        )
    return [
        *cards,
        Card(
            "Tokens",
            formatting.compact(total_tokens(totals.total)),
            (
                f"{formatting.count(total.api_tokens_sent)} sent",
                f"{formatting.count(total.api_tokens_received)} received",
            ),
        ),
        Card(
            "Tokens saved",
            formatting.compact(total.tokens_saved),
            (f"{formatting.percent(total.tokens_saved, plain)} of the baseline",) if plain else (),
            "saved",
        ),
    ]


def _sample_cards(totals: Totals) -> list[Card]:
    total = totals.counters
    return [
        Card(
            "Samples",
            formatting.compact(total.samples),
            (
                f"{formatting.count(total.samples - total.unscored)} marked",
                f"{formatting.count(total.unscored)} unscored",
            ),
        ),
        Card(
            "Hit rate",
            formatting.percent(hits(totals.total), lookups(totals.total)),
            (
                f"{formatting.count(hits(totals.total))} of "
                f"{formatting.count(lookups(totals.total))} samples",
            ),
            "hit-rate",
        ),
    ]


def _teacher_card(totals: Totals) -> Card:
    total, counts = totals.counters, totals.total.counts
    half, most = (latency.quantile(counts, share) for share in (0.5, 0.95))
    return Card(
        "Teacher",
        f"≈{formatting.NBSP}{formatting.seconds(half)}" if half is not None else formatting.NONE,
        (
            f"95{formatting.NBSP}% within {formatting.seconds(most)}"
            if most is not None
            else "no calls timed",
            f"{formatting.count(total.teacher_calls)} calls, "
            f"{formatting.count(counts['failed_calls'])} failed",
        ),
        "latency",
    )


def cost_notes(total: Counters) -> tuple[str, ...]:
    """What belongs to the dollars spent: the price of 1,000 samples, and calls without a bill."""
    if total.cost_usd is None:
        return ("set teacher.prices for this model",)
    notes = []
    if total.cost_usd and total.samples:
        notes.append(f"{formatting.usd(1000 * total.cost_usd / total.samples)} per 1,000 samples")
    if total.usage_unknown_calls:
        bound = formatting.usd(total.usage_unknown_cost_usd)
        notes.append(
            f"and at most {bound} for {formatting.count(total.usage_unknown_calls)} calls whose "
            "usage is unknown"
        )
    return tuple(notes)


def build_run_rows(totals: Totals) -> list[RunRow]:
    rows = []
    for name, tally in totals.runs.items():
        counted = to_counters(tally)
        cells = (
            formatting.count(counted.samples),
            formatting.percent(hits(tally), lookups(tally)),
            formatting.count(total_tokens(tally)),
            formatting.count(counted.tokens_saved),
            formatting.usd(counted.cost_usd),
            formatting.count(counted.unscored),
        )
        rows.append(RunRow(name, cells))
    return rows


def build_budget_rows(states: Mapping[str, BudgetState]) -> list[BudgetRow]:
    """Budgets with a limit, the most used first within total, keys and runs."""
    rows = []
    for scope, state in states.items():
        meters = build_meters(state)
        if meters:
            kind, _, name = scope.removesuffix(f" per {state.per}").partition(" ")
            spent = (
                f"{formatting.usd(state.spent_usd)}, {formatting.compact(state.spent_tokens)} "
                "tokens"
            )
            rows.append(BudgetRow(kind, name, state.per, meters, spent))
    order = ("total", "key", "run")
    return sorted(
        rows,
        key=lambda row: (
            order.index(row.kind),
            -max(meter.share for meter in row.meters),
            row.name,
        ),
    )


def build_meters(state: BudgetState) -> tuple[Meter, ...]:
    """One for each limit: dollars, tokens."""
    meters = []
    if state.limit_usd is not None:
        left = max(0.0, state.limit_usd - state.spent_usd)
        share = _share(state.spent_usd, state.limit_usd)
        meters.append(
            Meter(
                formatting.usd(state.spent_usd),
                formatting.usd(state.limit_usd),
                formatting.usd(left),
                share,
            )
        )
    if state.limit_tokens is not None:
        spent, limit = state.spent_tokens, state.limit_tokens
        unit = f"{formatting.NBSP}tokens"
        left_tokens = formatting.compact(max(0, limit - spent)) + unit
        meters.append(
            Meter(
                formatting.compact(spent),
                formatting.compact(limit) + unit,
                left_tokens,
                _share(spent, limit),
            )
        )
    return tuple(meters)


def _share(spent: float, limit: float) -> float:
    """Used share; a limit of zero counts as used up."""
    return min(1.0, spent / limit) if limit else 1.0
