"""The report of `markbook judge` as a page that needs nothing but itself: figures, intervals,
comparisons, settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from markbook.contract import Source
from markbook.scoring.cli.client import dollars
from markbook.scoring.cli.judge_table import COSTS, OPTIONAL, ROWS, format_figure, notes, verdict
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Comparison
from markbook.scoring.judging.report import LabelledFile, Report, TeacherReport
from markbook.scoring.prompts.rubric import load_rubric
from markbook.terminal import printable

MEANINGS = {
    "auc": "Probability that right code has a higher score than wrong code, of any tasks; ties "
    "count half.",
    "rank_correlation": "Spearman's, of score and truth.",
    "pairs_ordered": "As the AUC, within a task: what a group baseline learns from.",
    "mean_right": "Mean score of right code.",
    "mean_wrong": "Mean score of wrong code.",
    "wrong_scored_high": "Share of wrong code that would be rewarded.",
    "right_scored_low": "Share of right code that would be punished.",
    "retest_deviation": "Of the score of one sample between requests.",
    "order_effect": "By how much the score changes from one place in a request to the next.",
    "tokens_per_1000": "Per 1,000 scored samples, those that needed no teacher included.",
    "usd_per_1000": "Likewise, in US dollars.",
    "usd_per_auc_point": "Dollars per 1,000 samples for each 0.01 of AUC above 0.5.",
}
BAR_WIDTH = 160
"""Of an interval's drawing, in pixels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval on its axis, in pixels; `zero`: where a value means nothing (chance,
    equality).
    """

    at: float
    low: float
    high: float
    zero: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of every teacher."""

    name: str
    meaning: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    names: str
    verdict: str
    differences: Sequence[Cell]
    samples: int


_NEUTRAL = {"auc": 0.5, "pairs_ordered": 0.5, "rank_correlation": 0.0, "order_effect": 0.0}
"""Values of scores that know nothing of the truth, or of the place."""


def render(file: LabelledFile, report: Report, settings: Mapping[str, Any]) -> str:
    """HTML without scripts.

    `settings`: those of the command. Names from outside are text in it, whatever they hold.
    """
    right = sum(truth.is_right for truth in file.truths)
    return _template().render(
        settings=settings,
        counts=(len(file.samples), file.task_count, right, len(file.truths) - right),
        names=[each.name for each in report.teachers],
        notes=list(notes(report)),
        figures=list(_figures(report.teachers)),
        comparisons=[_comparison(each) for each in report.comparisons],
        tallies=list(_tallies(report.teachers)),
        configurations=list(_configurations(report.teachers)),
        bar_width=BAR_WIDTH,
    )


def draw_interval(
    figure: Figure, start: float, end: float, zero: float | None = None
) -> Bar | None:
    """The interval on an axis from `start` to `end`.

    None without an interval, or where it is beyond the axis.
    """
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    if not start <= figure.low <= figure.value <= figure.high <= end:
        return None
    per_unit = BAR_WIDTH / (end - start)
    at, low, high = (
        round((value - start) * per_unit, 1) for value in (figure.value, figure.low, figure.high)
    )
    return Bar(at, low, high, None if zero is None else round((zero - start) * per_unit, 1))


def _figures(teachers: Sequence[TeacherReport]) -> Iterator[FigureRow]:
    for key, (label, shown) in ROWS.items():
        found = [each.figures[key] for each in teachers]
        if key in OPTIONAL and all(figure.value is None for figure in found):
            continue
        start, end = _axis(key, found)
        cells: list[Cell] = []
        for figure, each in zip(found, teachers, strict=True):
            is_estimate = key in COSTS and each.cost_is_estimated
            text = format_figure(figure, shown)
            cells.append(
                Cell(
                    f"~{text}" if is_estimate else text,
                    draw_interval(figure, start, end, _NEUTRAL.get(key)),
                )
            )
        yield FigureRow(label, MEANINGS[key], cells)


def _axis(key: str, figures: Sequence[Figure]) -> tuple[float, float]:
    """Start and end of the axis of a figure, the same for all teachers."""
    if key == "rank_correlation":
        return -1.0, 1.0
    ends = [end for figure in figures for end in (figure.low, figure.high) if end]
    longest = max(map(abs, ends), default=1.0)
    if key == "order_effect":
        return -longest, longest
    return 0.0, longest if key in (*COSTS, *OPTIONAL) else 1.0


def _comparison(each: Comparison) -> ComparisonRow:
    cells: list[Cell] = []
    for figure in (each.difference, each.right, each.wrong):
        cells.append(
            Cell(
                format_figure(figure, lambda value: f"{value:+.3f}"),
                draw_interval(figure, -1.0, 1.0, 0.0),
            )
        )
    return ComparisonRow(f"{each.first} − {each.second}", verdict(each), cells, each.samples)


def _tallies(teachers: Sequence[TeacherReport]) -> Iterator[tuple[str, Sequence[str]]]:
    """Numbers of samples, and what was paid."""
    yield "scored", [f"{len(each.samples):,}" for each in teachers]
    yield (
        "by the heuristic tier",
        [f"{each.by_source.get(Source.HEURISTIC, 0):,}" for each in teachers],
    )
    reasons = sorted({reason for each in teachers for reason in each.unscored})
    for reason in reasons:
        yield f"unscored: {reason}", [f"{each.unscored.get(reason, 0):,}" for each in teachers]
    if not reasons:
        yield "unscored", ["0" for _ in teachers]
    yield "paid now", [dollars(each.usd) for each in teachers]


def _configurations(teachers: Sequence[TeacherReport]) -> Iterator[tuple[str, Sequence[str]]]:
    """What is set in each configuration that a mark depends on."""
    settings = [_settings(each) for each in teachers]
    for name in settings[0]:
        yield name, [each[name] for each in settings]


def _settings(each: TeacherReport) -> dict[str, str]:
    teacher, rlaif = each.config.teacher, each.config.rlaif
    is_stub = teacher.name == "static"
    shown = f"{rlaif.prompt_context_chars:,} ({rlaif.prompt_context_policy})"
    return {
        "model": "static stub" if is_stub else teacher.model,
        "rubric": teacher.rubric or "built-in",
        "rubric version": load_rubric(teacher.rubric).version,
        "samples per call": f"{teacher.max_group_size:,}",
        "shuffled": _yes(teacher.shuffle_group),
        "reasons": _yes(teacher.explain),
        "characters of the task": shown if rlaif.truncate_prompt_for_scoring else "all",
        "heuristic tier": _yes(rlaif.use_tiered_scoring),
        "profile": each.profile,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = printable
    return environment.from_string(
        Path(__file__).with_name("judge_page.jinja").read_text(encoding="utf-8")
    )
