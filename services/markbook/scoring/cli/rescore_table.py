"""The report of `markbook rescore` as text of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from markbook.cli.options import table
from markbook.config.settings import Config
from markbook.contract import Scored
from markbook.scoring.cli.client import dollars
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.paired_scores import ScorePair, parted_most
from markbook.scoring.judging.rescoring import RescoreReport
from markbook.terminal import printable

WIDTH = 80
_TASK_CHARS = 300
_CODE_LINES = 15
_SCORES = {
    "mean_old": "mean score, old",
    "mean_new": "mean score, new",
    "mean_difference": "new less old",
    "correlation": "correlation (Pearson)",
    "rank_correlation": "rank correlation (Spearman)",
    "pairs_in_order": "pairs of a task in the old order",
}
_ADVANTAGES = {
    "advantage_correlation": "correlation of the advantages",
    "advantage_reversed": "advantages with the other sign",
    "best_changed": "groups whose best sample changes",
}
GROUPS_NOTE = (
    "A group is what one call of the old teacher judged together: samples of one task, run and "
    "step, without those that the cache, the heuristic tier or tests decided, and in parts where "
    "it had more than teacher.max_group_size. Advantage: score less the mean of the group, before "
    "whitening."
)


def lines(report: RescoreReport, old: Config, new: Config, parted: int) -> Iterator[str]:
    """The table, what it rests on, and the samples that part most.

    Lines of the report are at most 80 columns wide.
    """
    yield from _head(report, old, new)
    if not report.pairs:
        return
    yield ""
    yield from table([[label, _cell(report.figures[name])] for name, label in _SCORES.items()])
    yield ""
    counts = report.groups
    yield f"{counts.groups:,} groups of two samples or more, {counts.samples:,} samples in them"
    if counts.groups:
        rows = [[label, _cell(report.figures[name])] for name, label in _ADVANTAGES.items()]
        yield from table(
            [
                *rows,
                ["groups of equal scores, old, new", f"{counts.flat_old:,}, {counts.flat_new:,}"],
            ]
        )
    yield ""
    yield from textwrap.wrap(GROUPS_NOTE, WIDTH)
    for pair in parted_most(report.pairs, parted):
        yield from _parted(report, pair)


def as_json(
    report: RescoreReport, old: Config, new: Config, settings: Mapping[str, Any], parted: int
) -> dict[str, Any]:
    """The same for programs; undefined figures are null.

    `scores` has every sample that has both scores.
    """
    selection = report.selection
    return {
        **settings,
        "old": {"teacher": name_of(old), "profile": selection.profile},
        "new": {"teacher": name_of(new), "profile": report.profile},
        "marks": len(selection.samples) + sum(selection.left_out.values()),
        "left_out": dict(selection.left_out),
        "compared": len(report.pairs),
        "tasks": selection.task_count,
        "by_source": {source.value: count for source, count in report.by_source.items()},
        "unscored": dict(report.unscored),
        "paid_usd": report.usd,
        "figures": {name: asdict(figure) for name, figure in report.figures.items()},
        "groups": asdict(report.groups),
        "groups_are": GROUPS_NOTE,
        "parted_most": [_sample(report, pair) for pair in parted_most(report.pairs, parted)],
        "scores": [
            {
                "key": selection.samples[pair.index].key,
                "group": pair.group,
                "old": pair.old,
                "new": pair.new,
            }
            for pair in report.pairs
        ],
    }


def name_of(config: Config) -> str:
    """The teacher in a few words: model and rubric."""
    teacher = config.teacher
    who = "the static stub" if teacher.name == "static" else teacher.model
    return printable(who if teacher.rubric is None else f"{who} with {teacher.rubric}")


def _head(report: RescoreReport, old: Config, new: Config) -> Iterator[str]:
    selection = report.selection
    marks = len(selection.samples) + sum(selection.left_out.values())
    yield (
        f"{marks:,} stored marks, {len(report.pairs):,} samples of {selection.task_count:,} "
        "tasks compared"
    )
    yield f"old: {name_of(old)}, profile {selection.profile}"
    yield f"new: {name_of(new)}, profile {report.profile}; paid now {dollars(report.usd)}"
    for why, count in selection.left_out.items():
        yield f"left out: {count:,}, {why}"
    if report.unscored:
        reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(report.unscored.items()))
        yield from textwrap.wrap(
            f"without a new mark: {reasons}; the same command continues", WIDTH
        )


def _parted(report: RescoreReport, pair: ScorePair) -> Iterator[str]:
    sample = report.selection.samples[pair.index]
    yield ""
    change = f"{pair.old:.3f} -> {pair.new:.3f}"
    yield f"{change}  {printable(sample.key)}  {printable(sample.run)}".rstrip()
    task = " ".join(sample.prompt.split())
    shown = task if len(task) <= _TASK_CHARS else f"{task[: _TASK_CHARS - 1]}…"
    yield from textwrap.wrap(printable(shown), WIDTH, initial_indent="  ", subsequent_indent="  ")
    code = sample.code.strip("\n").splitlines()
    for line in code[:_CODE_LINES]:
        yield f"    {printable(line)}".rstrip()
    if len(code) > _CODE_LINES:
        yield f"    … {len(code) - _CODE_LINES:,} more lines"


def _sample(report: RescoreReport, pair: ScorePair) -> dict[str, Any]:
    sample, result = report.selection.samples[pair.index], report.results[pair.index]
    criteria = result.criteria if isinstance(result, Scored) else None
    return {
        "key": sample.key,
        "run": sample.run,
        "language": sample.language,
        "old": {"score": pair.old, "criteria": dict(sample.criteria)},
        "new": {"score": pair.new, "criteria": criteria},
        "task": sample.prompt,
        "code": sample.code,
    }


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
