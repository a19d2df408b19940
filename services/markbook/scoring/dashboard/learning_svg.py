"""Charts of scores, which are in [0, 1]: curves with reported evaluations, and a histogram over
time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markbook.scoring.dashboard import formatting
from markbook.scoring.dashboard.svg import (
    LEFT,
    PLOT_WIDTH,
    Chart,
    Series,
    Shape,
    Table,
    Tick,
    dots,
    hover_zone,
    line_path,
    x_ticks,
    y_of,
)
from markbook.scoring.dashboard.time_range import TimeRange

LEVELS = 8
"""Shades of the histogram."""
_STRONGEST = 0.5
"""The share of a bucket's marks from which a cell has the strongest shade."""
_DIAMOND = 6.0
_STEP = 0.2


@dataclass(frozen=True, slots=True)
class Report:
    """A figure in [0, 1] that a run has reported, with its interval where it has one."""

    run: str
    tone: str
    step: int
    at_ms: int
    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        interval = (
            ""
            if self.low is None or self.high is None
            else f" ({score(self.low)} to {score(self.high)})"
        )
        return f"{score(self.value)}{interval}"


def score(value: float) -> str:
    return f"{value:.2f}"


def curves(
    id: str,
    title: str,
    unit: str,
    time_range: TimeRange,
    series: Sequence[Series],
    reports: Sequence[Report],
    what: str,
) -> Chart:
    """A line per series and a diamond per report, with its interval.

    `what`: the name of the reports in texts.
    """
    shapes: list[Shape] = []
    for each in series:
        path = line_path(time_range, each.values, 1.0)
        shapes.append(Shape(each.tone, "".join(path)))
        shapes.append(Shape(each.tone, dots(time_range, each.values, 1.0), "dots"))
    shapes.extend(_draw_reports(time_range, reports))
    by_bucket: defaultdict[int, list[Report]] = defaultdict(list)
    for report in reports:
        by_bucket[time_range.index(report.at_ms)].append(report)
    zones = []
    for index in range(time_range.buckets):
        lines = [
            f"{each.name} {score(value)}"
            for each in series
            if (value := each.values[index]) is not None
        ]
        lines += [
            f"{report.run}, {what} after step {report.step}: {report.text}"
            for report in by_bucket[index]
        ]
        if lines:
            zones.append(hover_zone(time_range, index, lines))
    drawn = [each for each in series if set(each.values) != {None}]
    return Chart(
        id=id,
        title=title,
        unit=unit,
        description=_describe(time_range, drawn, reports, what)
        if zones
        else "No data in this period.",
        kind="lines",
        series=[*drawn, *_legend(reports, drawn, what)],
        shapes=[shape for shape in shapes if shape.path],
        x_ticks=x_ticks(time_range),
        y_ticks=_unit_ticks(),
        hover_zones=zones,
        tables=[*_series_table(time_range, drawn), *_report_table(time_range, reports, what)],
    )


def histogram(
    id: str, title: str, unit: str, time_range: TimeRange, columns: Sequence[Sequence[int]]
) -> Chart:
    """A column of ten cells per bucket, stronger with their share of its marks.

    `columns`: counts by bin.
    """
    pitch, rows = PLOT_WIDTH / time_range.buckets, len(columns[0])
    paths: defaultdict[int, list[str]] = defaultdict(list)
    zones = []
    for index, counts in enumerate(columns):
        total = sum(counts)
        if not total:
            continue
        for row, count in enumerate(counts):
            if count:
                x, low, high = (
                    LEFT + index * pitch,
                    y_of(row / rows, 1.0),
                    y_of((row + 1) / rows, 1.0),
                )
                cell = f"M{x:.1f} {low:.1f}h{pitch:.1f}V{high:.1f}h{-pitch:.1f}z"
                paths[min(LEVELS, math.ceil(LEVELS * count / total / _STRONGEST))].append(cell)
        lines = [
            f"{_bin(row, rows)}: {formatting.count(count)}"
            for row, count in enumerate(counts)
            if count
        ]
        zones.append(hover_zone(time_range, index, lines[::-1]))
    bins = [sum(counts) for counts in zip(*columns, strict=True)]
    ends = [(rows - 1, "none"), (0, "none")]
    return Chart(
        id=id,
        title=title,
        unit=unit,
        description=_describe_bins(bins),
        kind="heat",
        series=[
            Series(_bin(row, rows), tone, (), formatting.percent(bins[row], sum(bins)))
            for row, tone in ends
        ],
        shapes=[Shape(f"level-{level}", "".join(path)) for level, path in sorted(paths.items())],
        x_ticks=x_ticks(time_range),
        y_ticks=_unit_ticks(),
        hover_zones=zones,
        tables=[_bin_table(time_range, columns)],
        note="The stronger the colour, the larger the share of the marks of that time; strongest "
        "from one half.",
    )


def _draw_reports(time_range: TimeRange, reports: Sequence[Report]) -> Iterator[Shape]:
    lines: dict[str, Shape] = {}
    for report in reports:
        point = f"{_x(time_range, report.at_ms):.1f} {y_of(_clamp(report.value), 1.0):.1f}"
        before = lines.get(report.run)
        lines[report.run] = Shape(
            report.tone, f"{before.path}L{point}" if before else f"M{point}", "trend"
        )
    yield from lines.values()
    for report in reports:
        x, y = _x(time_range, report.at_ms), y_of(_clamp(report.value), 1.0)
        if report.low is not None and report.high is not None:
            low, high = y_of(_clamp(report.low), 1.0), y_of(_clamp(report.high), 1.0)
            yield Shape(report.tone, f"M{x:.1f} {low:.1f}V{high:.1f}", "interval")
        size = _DIAMOND
        diamond = f"M{x:.1f} {y - size:.1f}l{size} {size}l{-size} {size}l{-size} {-size}z"
        yield Shape(report.tone, diamond, "report")


def _x(time_range: TimeRange, at_ms: int) -> float:
    return LEFT + PLOT_WIDTH * (at_ms - time_range.first_ms) / (
        time_range.buckets * time_range.step_ms
    )


def _clamp(value: float) -> float:
    """Any trainer may report any number: one outside of the chart is drawn at its edge."""
    return min(max(value, 0.0), 1.0)


def _unit_ticks() -> list[Tick]:
    return [
        Tick(round(y_of(number * _STEP, 1.0), 1), f"{number * _STEP:.1f}") for number in range(6)
    ]


def _legend(reports: Sequence[Report], drawn: Sequence[Series], what: str) -> list[Series]:
    """The latest report of each run that has a line of its own, or else of each."""
    latest = {report.run: report for report in reports}
    if not drawn:
        return [Series(run, report.tone, (), report.text) for run, report in latest.items()]
    return [
        Series(f"{run}, {what}", f"{report.tone} report", (), report.text)
        for run, report in latest.items()
    ]


def _describe(
    time_range: TimeRange, drawn: Sequence[Series], reports: Sequence[Report], what: str
) -> str:
    """Where each line begins and ends."""
    parts = []
    for each in drawn:
        known = [value for value in each.values if value is not None]
        parts.append(f"{each.name} from {score(known[0])} to {score(known[-1])}")
    latest = {report.run: report for report in reports}
    parts += [
        f"{run}, latest {what} {report.text} after step {report.step}"
        for run, report in latest.items()
    ]
    return f"From {time_range.label(0)}{time_range.zone}: {'; '.join(parts)}."


def _describe_bins(bins: Sequence[int]) -> str:
    if not sum(bins):
        return "No data in this period."
    most = max(range(len(bins)), key=bins.__getitem__)
    share = formatting.percent(bins[most], sum(bins))
    return f"{formatting.count(sum(bins))} marks; most are {_bin(most, len(bins))}: {share}."


def _bin(row: int, rows: int) -> str:
    low, high = f"{row / rows:.1f}", f"{(row + 1) / rows:.1f}"
    return f"{low} to {high}" if row == 0 else f"above {low} to {high}"


def _series_table(time_range: TimeRange, drawn: Sequence[Series]) -> list[Table]:
    rows = []
    for index in range(time_range.buckets):
        values = [each.values[index] for each in drawn]
        if any(value is not None for value in values):
            cells = ["" if value is None else score(value) for value in values]
            rows.append((time_range.label(index), *cells))
    return [Table((time_range.column, *(each.name for each in drawn)), rows)] if rows else []


def _report_table(time_range: TimeRange, reports: Sequence[Report], what: str) -> list[Table]:
    rows = [
        (time_range.moment(each.at_ms), each.run, str(each.step), each.text) for each in reports
    ]
    return (
        [
            Table(
                (
                    f"reported{',' * bool(time_range.zone)}{time_range.zone}",
                    "run",
                    "after step",
                    what,
                ),
                rows,
            )
        ]
        if rows
        else []
    )


def _bin_table(time_range: TimeRange, columns: Sequence[Sequence[int]]) -> Table:
    rows = [
        (time_range.label(index), *map(formatting.count, counts))
        for index, counts in enumerate(columns)
        if sum(counts)
    ]
    return Table(
        (
            time_range.column,
            *(f"≤ {(row + 1) / len(columns[0]):.1f}" for row in range(len(columns[0]))),
        ),
        rows,
    )
