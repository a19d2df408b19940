"""The report of `markbook judge` as a table of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from markbook.cli.options import table
from markbook.contract import Source
from markbook.scoring.cli.client import dollars
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Choice, Comparison
from markbook.scoring.judging.report import LabelledFile, Report, TeacherReport
from markbook.terminal import printable

WIDTH = 80
_PER_BLOCK = 2
"""Teachers side by side: a third would not fit."""
_NAME_CHARS = 24


def _three_digits(value: float) -> str:
    return f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _thousands(value: float) -> str:
    return f"{value / 1000:,.1f}k" if value < 100_000 else f"{value / 1000:,.0f}k"


def _significant(value: float) -> str:
    """Dollars without the sign, which the label has, and in few digits: two intervals are side
    by side.
    """
    if value >= 100:
        return f"{value:,.0f}"
    if value == 0 or value >= 1:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 0.01 else f"{value:.3g}"


ROWS: dict[str, tuple[str, Callable[[float], str]]] = {
    "auc": ("AUC (0.5 is chance)", _three_digits),
    "rank_correlation": ("rank correlation", _three_digits),
    "pairs_ordered": ("pairs of a task ordered", _three_digits),
    "mean_right": ("mean score, right", _three_digits),
    "mean_wrong": ("mean score, wrong", _three_digits),
    "wrong_scored_high": ("wrong, score >= 0.8", _three_digits),
    "right_scored_low": ("right, score < 0.4", _three_digits),
    "retest_deviation": ("retest std. deviation", _three_digits),
    "order_effect": ("score per later place", _signed),
    "tokens_per_1000": ("tokens per 1,000", _thousands),
    "usd_per_1000": ("$ per 1,000", _significant),
    "usd_per_auc_point": ("$ per AUC point", _significant),
}
OPTIONAL = ("retest_deviation", "order_effect")
"""Not shown where no teacher has them."""
COSTS = ("tokens_per_1000", "usd_per_1000", "usd_per_auc_point")


def lines(file: LabelledFile, report: Report) -> Iterator[str]:
    """The table, what it rests on, the comparisons and the choice.

    Lines are at most 80 columns wide.
    """
    right = sum(truth.is_right for truth in file.truths)
    wrong = len(file.truths) - right
    yield (
        f"{len(file.samples):,} samples of {file.task_count:,} tasks: {right:,} right, {wrong:,} "
        "wrong"
    )
    for start in range(0, len(report.teachers), _PER_BLOCK):
        block = report.teachers[start : start + _PER_BLOCK]
        yield ""
        yield from table([["", *(_short(each.name) for each in block)], *_rows(block)])
    below = [*map(_comparison, report.comparisons), *notes(report)]
    if below:
        yield ""
    for note in below:
        yield from textwrap.wrap(printable(note), WIDTH, subsequent_indent="  ")


def as_json(file: LabelledFile, report: Report, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for programs. Undefined figures are null."""
    right = sum(truth.is_right for truth in file.truths)
    choice = None if report.choice is None else asdict(report.choice)
    comparisons = [
        {**asdict(each), "is_indistinguishable": each.is_indistinguishable}
        for each in report.comparisons
    ]
    counts = {
        "samples": len(file.samples),
        "tasks": file.task_count,
        "right": right,
        "wrong": len(file.truths) - right,
    }
    return {
        **settings,
        **counts,
        "teachers": [_teacher(each) for each in report.teachers],
        "comparisons": comparisons,
        "choice": choice,
    }


def _rows(block: Sequence[TeacherReport]) -> Iterator[list[str]]:
    for key, (label, shown) in ROWS.items():
        if key in OPTIONAL and all(each.figures[key].value is None for each in block):
            continue
        cells = [format_figure(each.figures[key], shown) for each in block]
        if key in COSTS:
            cells = [
                f"~{cell}" if each.cost_is_estimated else cell
                for cell, each in zip(cells, block, strict=True)
            ]
        yield [label, *cells]
    yield ["scored", *(f"{len(each.samples):,}" for each in block)]
    yield [
        "  by the heuristic tier",
        *(f"{each.by_source.get(Source.HEURISTIC, 0):,}" for each in block),
    ]
    yield ["unscored", *(f"{sum(each.unscored.values()):,}" for each in block)]
    yield ["paid now", *(dollars(each.usd) for each in block)]


def format_figure(figure: Figure, shown: Callable[[float], str]) -> str:
    """Value and interval; `-` where it is undefined."""
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return shown(figure.value)
    return f"{shown(figure.value)} [{shown(figure.low)}, {shown(figure.high)}]"


def verdict(each: Comparison) -> str:
    """Whether two teachers differ, in words."""
    return {True: "indistinguishable", False: "different", None: "not comparable"}[
        each.is_indistinguishable
    ]


def _comparison(each: Comparison) -> str:
    auc, right, wrong = (
        format_figure(figure, _signed) for figure in (each.difference, each.right, each.wrong)
    )
    found = (
        f"{each.first} and {each.second}: {verdict(each)}; AUC differs by {auc} on "
        f"{each.samples:,} samples"
    )
    if each.right.value is None and each.wrong.value is None:
        return found
    return f"{found}; mean score of right code differs by {right}, of wrong code by {wrong}"


def notes(report: Report) -> Iterator[str]:
    """The choice, and what a reader of the figures has to know."""
    if report.choice is not None and len(report.teachers) > 1:
        yield _choice(report.choice)
    for each in report.teachers:
        if each.config.teacher.name == "static":
            yield f"{each.name}: the teacher is the static stub, which is no judge"
        if each.cost_is_estimated:
            yield f"{each.name}: every mark was cached, so costs (~) are estimates"
        if each.unscored:
            yield f"{each.name}: unscored and in no figure: {_counts(each.unscored)}"
        if each.unscored_repeats:
            yield (
                f"{each.name}: unscored repeats, left out of the retest: "
                f"{_counts(each.unscored_repeats)}"
            )


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))


def _choice(choice: Choice) -> str:
    if len(choice.equals) == 1:
        return f"best: {choice.best}"
    others = ", ".join(each for each in choice.equals if each != choice.best)
    equals = f"best: {choice.best}; indistinguishable from it: {others}"
    if choice.cheapest is None:
        return f"{equals}; which is the cheapest is unknown: a cost or a price is missing"
    return f"{equals}; the cheapest of these: {choice.cheapest}"


def _teacher(each: TeacherReport) -> dict[str, Any]:
    teacher = each.config.teacher
    return {
        "name": each.name,
        "teacher": teacher.name,
        "model": teacher.model if teacher.name != "static" else None,
        "is_stub": teacher.name == "static",
        "profile": each.profile,
        "figures": {key: asdict(figure) for key, figure in each.figures.items()},
        "scored": len(each.samples),
        "by_source": {source.value: count for source, count in each.by_source.items()},
        "unscored": dict(each.unscored),
        "unscored_repeats": dict(each.unscored_repeats),
        "paid_usd": each.usd,
        "cost_is_estimated": each.cost_is_estimated,
    }


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"
