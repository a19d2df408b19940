"""The teacher against tests: agreement by run over time, and by run, teacher and language, with
what it rests on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markbook.contract import AgreementCount, TeacherAgreement
from markbook.scoring.api.agreement_stats import to_agreement
from markbook.scoring.dashboard import formatting
from markbook.scoring.dashboard.charts import TONES
from markbook.scoring.dashboard.learning_svg import curves, score
from markbook.scoring.dashboard.svg import Chart, Series
from markbook.scoring.dashboard.totals import Totals
from markbook.scoring.store import JudgedKind

MIN_SAMPLES = 10
"""Judged samples below which a time has no point: its figure would be an accident."""
COLUMNS = (
    "model",
    "rubric",
    "language",
    "passed, called right",
    "failed, called wrong",
    "agreement (95 %)",
    "AUC",
)


@dataclass(frozen=True, slots=True)
class AgreementRow:
    run: str
    cells: tuple[str, ...]
    is_low: bool


def build_agreement_chart(totals: Totals, runs: Sequence[str], link: Callable[[str], str]) -> Chart:
    """A line per run that has judged samples with tests. `runs`: those that are drawn by name."""
    series: list[Series] = []
    for run, tone in zip(runs, TONES, strict=False):
        judged: list[Counter[JudgedKind]] = [Counter() for _ in range(totals.time_range.buckets)]
        for index, tally in totals.by_run.get(run, {}).items():
            judged[index].update(tally.judged)
        whole: Counter[JudgedKind] = sum(judged, Counter())
        if whole:
            values = [_value(each) for each in judged]
            series.append(Series(run, tone, values, _total(to_agreement(whole)), link(run)))
    return curves(
        "agreement",
        "Teacher against tests by run",
        f"agreement, from {MIN_SAMPLES} judged samples on",
        totals.time_range,
        series,
        [],
        "agreement",
    )


def build_agreement_rows(
    counts: Sequence[AgreementCount], low_runs: Sequence[str]
) -> list[AgreementRow]:
    rows: list[AgreementRow] = []
    for each in counts:
        interval = (
            ""
            if each.low is None or each.high is None
            else f" ({score(each.low)} to {score(each.high)})"
        )
        figure = formatting.NONE if each.agreement is None else f"{score(each.agreement)}{interval}"
        cells = (
            formatting.visible(each.model),
            each.rubric,
            each.language,
            f"{formatting.count(each.passed_agreeing)} of {formatting.count(each.passed)}",
            f"{formatting.count(each.failed_agreeing)} of {formatting.count(each.failed)}",
            figure,
            formatting.NONE if each.auc is None else score(each.auc),
        )
        rows.append(AgreementRow(each.run, cells, each.run in low_runs))
    return rows


def _value(judged: Counter[JudgedKind]) -> float | None:
    return to_agreement(judged).agreement if judged.total() >= MIN_SAMPLES else None


def _total(counts: TeacherAgreement) -> str:
    share = formatting.NONE if counts.agreement is None else score(counts.agreement)
    return f"{share} of {formatting.count(counts.passed + counts.failed)}"
