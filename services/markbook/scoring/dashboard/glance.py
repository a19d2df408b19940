"""The first line of the dashboard: what it cost, whether it is learning, what a mark is, why one
is low.
"""

from __future__ import annotations

from dataclasses import dataclass

from markbook.scoring.dashboard import formatting
from markbook.scoring.dashboard.cards import cost_notes
from markbook.scoring.dashboard.samples_context import item
from markbook.scoring.dashboard.samples_query import SamplesQuery
from markbook.scoring.dashboard.savings import has_money
from markbook.scoring.dashboard.totals import Totals
from markbook.scoring.store import ListedSample, NewestSamples, score_sums


@dataclass(frozen=True, slots=True)
class Fact:
    """`link`: URL of the sample that it is about. `is_code`: `note` is a line of code."""

    name: str
    value: str
    note: str
    link: str | None = None
    is_code: bool = False


def build_glance(
    totals: Totals, newest: NewestSamples, query: SamplesQuery, *, is_stub: bool
) -> list[Fact]:
    """Without what is not known: no mean before the first score, no reject before the first one."""
    facts = [_cost(totals, is_stub=is_stub), _mean(totals)]
    if newest.marked is not None:
        line = item(newest.marked).line
        facts.append(_sample("Latest mark", newest.marked, line, query, is_code=bool(line)))
    if newest.rejected is not None:
        facts.append(_sample("Latest rejected", newest.rejected, item(newest.rejected).why, query))
    return [fact for fact in facts if fact is not None]


def _cost(totals: Totals, *, is_stub: bool) -> Fact:
    total = totals.counters
    if not has_money(total, is_stub=is_stub):
        return Fact("Spent", "nothing", "the stub is free")
    return Fact("Spent", formatting.usd(total.cost_usd), "; ".join(cost_notes(total)))


def _mean(totals: Totals) -> Fact | None:
    overall = score_sums.mean_and_std(totals.total.scores[score_sums.ALL])
    if overall is None:
        return None
    found = [score_sums.mean_and_std(each.scores[score_sums.ALL]) for each in totals.buckets]
    means = [each[0] for each in found if each is not None]
    note = (
        f"{means[0]:.2f} at first, {means[-1]:.2f} at last" if len(means) > 1 else "of all samples"
    )
    return Fact("Mean mark", f"{overall[0]:.2f}", note)


def _sample(
    name: str, sample: ListedSample, note: str | None, query: SamplesQuery, *, is_code: bool = False
) -> Fact:
    shown = item(sample)
    text = "no code" if note == "" else note or "text not stored"
    return Fact(name, shown.score, text, f"samples/{shown.id}{query.link()}#why", is_code)
