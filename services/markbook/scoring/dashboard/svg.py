"""Charts as SVG shapes: stacked bars and lines over time, with axes, legend and a text for
screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markbook.scoring.dashboard.time_range import TimeRange

WIDTH, HEIGHT = 380, 168
LEFT, RIGHT, TOP, BOTTOM = 46, 6, 8, 22
PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_MAX_STEPS = 4
_MAX_DOTS = 24
_GAP = 0.18
"""Share of a bar's width left empty."""


@dataclass(frozen=True, slots=True)
class Series:
    """One value per bucket, None for a gap.

    `tone` names its colour; `total` is the text in the legend.
    """

    name: str
    tone: str
    values: Sequence[float | None]
    total: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind`: that of its chart, unless it is set."""

    tone: str
    path: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class HoverZone:
    """The hover area of one bucket, and its tooltip."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """The values of a chart as text; the first cell of a row names it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Coordinates are those of a view box of WIDTH by HEIGHT."""

    id: str
    title: str
    unit: str
    description: str
    kind: str
    series: Sequence[Series]
    shapes: Sequence[Shape]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    hover_zones: Sequence[HoverZone]
    tables: Sequence[Table]
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.hover_zones


def bars(
    id: str,
    title: str,
    unit: str,
    time_range: TimeRange,
    series: Sequence[Series],
    format_value: Callable[[float], str],
    min_step: float = 1.0,
) -> Chart:
    """Stacked bars, the first series at the bottom.

    `min_step`: the least distance between two ticks.
    """
    columns: list[list[float]] = [[] for _ in range(time_range.buckets)]
    for each in series:
        for column, value in zip(columns, each.values, strict=True):
            column.append(value or 0.0)
    step, top = _scale(max(map(sum, columns), default=0.0), min_step)
    pitch = PLOT_WIDTH / time_range.buckets
    paths: list[list[str]] = [[] for _ in series]
    for index, column in enumerate(columns):
        x, below = LEFT + (index + _GAP / 2) * pitch, 0.0
        for path, value in zip(paths, column, strict=True):
            if value > 0:
                low, high = y_of(below, top), y_of(below + value, top)
                path.append(
                    f"M{x:.1f} {low:.1f}h{pitch * (1 - _GAP):.1f}"
                    f"V{high:.1f}h{-pitch * (1 - _GAP):.1f}z"
                )
                below += value
    totals = [sum(column) for column in columns]
    heading, axis = _Heading(id, title, unit, "bars"), _ValueAxis(step, top, format_value)
    return _chart(heading, time_range, series, paths, axis, totals)


def lines(
    id: str,
    title: str,
    unit: str,
    time_range: TimeRange,
    series: Sequence[Series],
    format_value: Callable[[float], str],
    min_top: float = 0.0,
) -> Chart:
    """One line per series, with gaps where it has no value. The axis reaches at least `min_top`."""
    highest = [
        max(known) if (known := _known(series, index)) else None
        for index in range(time_range.buckets)
    ]
    step, top = _scale(max([min_top, *(value for value in highest if value is not None)]), 0.0)
    paths = [line_path(time_range, each.values, top) for each in series]
    heading, axis = _Heading(id, title, unit, "lines"), _ValueAxis(step, top, format_value)
    chart = _chart(heading, time_range, series, paths, axis, highest)
    points = [Shape(each.tone, dots(time_range, each.values, top), "dots") for each in series]
    return replace(chart, shapes=[*chart.shapes, *(shape for shape in points if shape.path)])


def line_path(time_range: TimeRange, values: Sequence[float | None], top: float) -> list[str]:
    """A line through the values of neighbouring buckets."""
    path, drawing = [], False
    for index, value in enumerate(values):
        if value is not None:
            path.append(f"{'L' if drawing else 'M'}{_point(time_range, index, value, top)}")
        drawing = value is not None
    return path


def dots(time_range: TimeRange, values: Sequence[float | None], top: float) -> str:
    """A dot per value while there is room for all; else only where a value has no neighbours,
    and so no line.
    """
    known = [index for index, value in enumerate(values) if value is not None]
    alone = set(known) - {near for index in known for near in (index - 1, index + 1)}
    shown = known if len(known) <= _MAX_DOTS else sorted(alone)
    points = [(index, values[index]) for index in shown]
    return "".join(f"M{_point(time_range, index, value or 0.0, top)}h0" for index, value in points)


def _point(time_range: TimeRange, index: int, value: float, top: float) -> str:
    return f"{LEFT + (index + 0.5) * PLOT_WIDTH / time_range.buckets:.1f} {y_of(value, top):.1f}"


@dataclass(frozen=True, slots=True)
class _Heading:
    """What names a chart."""

    id: str
    title: str
    unit: str
    kind: str


@dataclass(frozen=True, slots=True)
class _ValueAxis:
    """The vertical axis: a tick every `step` up to `top`."""

    step: float
    top: float
    format_value: Callable[[float], str]

    def ticks(self) -> list[Tick]:
        steps = _steps(self.step, self.top)
        return [Tick(round(y_of(value, self.top), 1), self.format_value(value)) for value in steps]


def _chart(
    heading: _Heading,
    time_range: TimeRange,
    series: Sequence[Series],
    paths: Sequence[Sequence[str]],
    axis: _ValueAxis,
    heights: Sequence[float | None],
) -> Chart:
    """`heights`: of each bucket, what is highest in it."""
    format_value = axis.format_value
    filled = [index for index, height in enumerate(heights) if height]
    drawn = zip(series, paths, strict=True)
    shown = [each for each in series if any(each.values)]
    return Chart(
        id=heading.id,
        title=heading.title,
        unit=heading.unit,
        description=_describe(time_range, heights, format_value),
        kind=heading.kind,
        series=shown,
        shapes=[Shape(each.tone, "".join(path)) for each, path in drawn if path],
        x_ticks=x_ticks(time_range),
        y_ticks=axis.ticks(),
        hover_zones=[
            hover_zone(time_range, index, _hover_lines(shown, index, format_value))
            for index in filled
        ],
        tables=[_table(time_range, shown, filled, format_value)] if filled else [],
    )


def x_ticks(time_range: TimeRange) -> list[Tick]:
    return [Tick(round(LEFT + share * PLOT_WIDTH, 1), label) for share, label in time_range.ticks()]


def hover_zone(time_range: TimeRange, index: int, lines: Sequence[str]) -> HoverZone:
    """The zone of a bucket; `lines` are shown below its time."""
    pitch = PLOT_WIDTH / time_range.buckets
    text = "\n".join([f"{time_range.label(index)}{time_range.zone}", *lines])
    return HoverZone(round(LEFT + index * pitch, 1), round(pitch, 1), text)


def _table(
    time_range: TimeRange,
    series: Sequence[Series],
    filled: Sequence[int],
    format_value: Callable[[float], str],
) -> Table:
    rows = []
    for index in filled:
        values = [each.values[index] for each in series]
        rows.append(
            (
                time_range.label(index),
                *("" if value is None else format_value(value) for value in values),
            )
        )
    return Table((time_range.column, *(each.name for each in series)), rows)


def _describe(
    time_range: TimeRange, heights: Sequence[float | None], format_value: Callable[[float], str]
) -> str:
    highest = max(range(len(heights)), key=lambda index: heights[index] or 0.0, default=0)
    if not heights or not heights[highest]:
        return "No data in this period."
    top = format_value(heights[highest] or 0.0)
    return (
        f"From {time_range.label(0)}{time_range.zone}; highest {top}, at "
        f"{time_range.label(highest)}."
    )


def _hover_lines(
    series: Sequence[Series], index: int, format_value: Callable[[float], str]
) -> list[str]:
    known = [(each.name, each.values[index]) for each in series]
    return [f"{name} {format_value(value)}" for name, value in known if value] or ["0"]


def _known(series: Sequence[Series], index: int) -> list[float]:
    return [value for each in series if (value := each.values[index]) is not None]


def _scale(highest: float, least: float) -> tuple[float, float]:
    """A round tick distance (1, 2 or 5 times a power of ten) and the axis end, a multiple of it."""
    if highest <= 0:
        return 1.0, 1.0
    exponent = math.floor(math.log10(highest / _MAX_STEPS))
    sizes = (base * 10.0**power for power in (exponent, exponent + 1) for base in (1, 2, 5))
    step = max(least, next(size for size in sizes if highest / size <= _MAX_STEPS + 1e-9))
    return step, step * math.ceil(highest / step - 1e-9)


def _steps(step: float, top: float) -> list[float]:
    return [step * number for number in range(round(top / step) + 1)]


def y_of(value: float, top: float) -> float:
    """The y coordinate of a value on an axis from 0 to `top`."""
    return TOP + _PLOT_HEIGHT * (1 - value / top)
