"""What the page draws and how it writes numbers, against values worked out by hand."""

from __future__ import annotations

import pytest

from markbook.scoring.dashboard import formatting, latency
from markbook.scoring.dashboard.query import PageQuery
from markbook.scoring.dashboard.svg import HEIGHT, LEFT, WIDTH, Series, bars, lines
from markbook.scoring.dashboard.time_range import Period, TimeRange, resolve_time_range
from markbook.scoring.store import LATENCY_BUCKETS, LATENCY_MS

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 19_000 * DAY  # 2022-01-08, midnight


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *(
            (0, "0"),
            (999, "999"),
            (1_000, "1.00 k"),
            (9_999, "10.0 k"),
            (34_567, "34.6 k"),
            (999_949, "1.00 M"),
        ),
        *(
            (123_456_789, "123 M"),
            (2_500_000_000, "2.50 G"),
            (-1_500, "-1.50 k"),
            (0.25, "0.25"),
            (0.00002, "0.00002"),
        ),
    ],
)
def test_compact_numbers(number, text):
    assert formatting.compact(number).replace(formatting.NBSP, " ") == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        *(
            (None, "price unknown"),
            (0, "$0.00"),
            (9e-7, "< $0.000001"),
            (1.04e-6, "$0.0000010"),
            (0.00045, "$0.00045"),
        ),
        *(
            (0.0312, "$0.0312"),
            (0.25, "$0.2500"),
            (0.99999, "$1.0000"),
            (1, "$1.00"),
            (1234.567, "$1,234.57"),
        ),
    ],
)
def test_dollars(dollars, text):
    assert formatting.usd(dollars) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 0, "–"),
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 3, "33 %"),
        (1, 30, "3.3 %"),
        (999, 1000, "99.9 %"),
    ],
)
def test_shares(part, whole, text):
    assert formatting.percent(part, whole).replace(formatting.NBSP, " ") == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "–"), (4, "0.00 s"), (250, "0.25 s"), (1_840, "1.8 s"), (12_400, "12 s")],
)
def test_seconds(ms, text):
    assert formatting.seconds(ms).replace(formatting.NBSP, " ") == text


def test_hidden_characters_are_spelled_out_and_others_stay():
    assert formatting.visible("é\tx\r\n 漢\N{NO-BREAK SPACE}") == "é\tx\n 漢\N{NO-BREAK SPACE}"
    assert (
        formatting.visible("a\0\x1b[31m\u202eb\u2066\ufeff\r")
        == "a⟨U+0000⟩⟨U+001B⟩[31m⟨U+202E⟩b⟨U+2066⟩⟨U+FEFF⟩⟨U+000D⟩"
    )


@pytest.mark.parametrize(
    ("period", "step", "first"),
    [
        (Period.HOUR, MINUTE, T0 - HOUR),
        (Period.DAY, 30 * MINUTE, T0 - DAY),
        (Period.WEEK, 3 * HOUR, T0 - 7 * DAY),
        (Period.ALL, DAY, T0 - 40 * DAY),
    ],
)
def test_a_frame_has_buckets_of_a_round_length_up_to_now(period, step, first):
    time_range = resolve_time_range(period, T0 + 20_000, (T0 - 40 * DAY, T0 - DAY))
    assert (time_range.first_ms, time_range.step_ms) == (first, step)
    assert time_range.first_ms + (time_range.buckets - 1) * step == T0  # now is in the last one
    assert time_range.buckets <= 61


def test_all_of_time_is_at_least_an_hour_and_at_most_what_can_be_drawn():
    assert resolve_time_range(Period.ALL, T0, None) == resolve_time_range(Period.HOUR, T0, None)
    century = resolve_time_range(Period.ALL, T0, (T0 - 36_500 * DAY, T0))
    assert (century.step_ms, century.buckets) == (1461 * DAY, 26)


def test_ticks_stand_at_round_times():
    time_range = TimeRange(T0 - 10 * HOUR, HOUR, 24)
    assert time_range.ticks() == [
        (4 / 24, "18:00"),
        (10 / 24, "8 Jan"),
        (16 / 24, "06:00"),
        (22 / 24, "12:00"),
    ]
    assert {label[-4:] for _, label in TimeRange(T0 - 365 * DAY, 30 * DAY, 13).ticks()} == {"2021"}


def test_bars_are_stacked_to_scale():
    time_range = TimeRange(T0, MINUTE, 2)
    chart = bars(
        "x",
        "X",
        "things",
        time_range,
        [Series("a", "one", [30, 0], "30"), Series("b", "two", [10, 80], "90")],
        str,
    )
    assert [(tick.at, tick.label) for tick in chart.y_ticks] == [
        (146.0, "0.0"),
        (111.5, "20.0"),
        (77.0, "40.0"),
        (42.5, "60.0"),
        (8.0, "80.0"),
    ]
    # half of 328 a bucket, 82 % of it the bar; 80 things are 138 high
    assert [(shape.tone, shape.path) for shape in chart.shapes] == [
        ("one", "M60.8 146.0h134.5V94.2h-134.5z"),
        ("two", "M60.8 94.2h134.5V77.0h-134.5zM224.8 146.0h134.5V8.0h-134.5z"),
    ]
    assert [(spot.x, spot.width, spot.text) for spot in chart.hover_zones] == [
        (46.0, 164.0, "8 Jan 00:00 UTC\na 30\nb 10"),
        (210.0, 164.0, "8 Jan 00:01 UTC\nb 80"),
    ]
    assert chart.description == "From 8 Jan 00:00 UTC; highest 80.0, at 8 Jan 00:01."
    assert (LEFT, WIDTH, HEIGHT) == (46, 380, 168)


def test_a_line_breaks_where_nothing_is_known_and_a_lone_value_is_a_dot():
    time_range = TimeRange(T0, MINUTE, 4)
    chart = lines("x", "X", "s", time_range, [Series("a", "one", [2, 4, None, 1], "")], str)
    assert [(shape.kind, shape.path) for shape in chart.shapes] == [
        (None, "M87.0 77.0L169.0 8.0M333.0 111.5"),
        ("dots", "M87.0 77.0h0M169.0 8.0h0M333.0 111.5h0"),
    ]


@pytest.mark.parametrize(("values", "drawn"), [(24, 24), (25, 0)])
def test_each_value_is_a_dot_while_there_is_room(values, drawn):
    time_range = TimeRange(T0, MINUTE, 60)
    series = [Series("a", "one", [1.0] * values + [None] * (60 - values), "")]
    shapes = lines("x", "X", "s", time_range, series, str).shapes
    assert sum(shape.path.count("h0") for shape in shapes if shape.kind == "dots") == drawn


def test_a_lone_value_is_a_dot_among_many():
    values = [*[1.0] * 24, None, 0.0, None, *[1.0] * 10]
    shapes = lines(
        "x", "X", "s", TimeRange(T0, MINUTE, 37), [Series("a", "one", values, "")], str
    ).shapes
    assert [shape.path.count("h0") for shape in shapes if shape.kind == "dots"] == [1]


def test_a_chart_is_a_table_too():
    series = [
        Series("a", "one", [30, 0, 0], "30"),
        Series("b", "two", [10, 0, 80], "90"),
        Series("c", "three", [0, 0, 0], "0"),
    ]
    [table] = bars("x", "X", "things", TimeRange(T0, MINUTE, 3), series, str).tables
    assert table.columns == ("from, UTC", "a", "b")  # what is nowhere has no column
    assert table.rows == [("8 Jan 00:00", "30", "10"), ("8 Jan 00:02", "0", "80")]


@pytest.mark.parametrize(
    ("first", "last", "step", "buckets"),
    [
        (T0, T0, MINUTE, 10),  # a first sample has room for more
        (T0, T0 + 9 * MINUTE, MINUTE, 10),
        (T0, T0 + 10 * MINUTE, MINUTE, 11),
        (T0 + 30_000, T0 + 60 * MINUTE, MINUTE, 61),
        (T0, T0 + 60 * MINUTE + 1, 2 * MINUTE, 31),
        (
            T0 - 23 * HOUR,
            T0 - 22 * HOUR,
            MINUTE,
            61,
        ),  # it has ended: what is empty since is not shown
        (T0 - 48 * HOUR, T0 - 46 * HOUR, HOUR, 3),  # of minutes that are hours by now
        (T0 - 40 * DAY, T0, DAY, 41),
    ],
)
def test_auto_is_the_smallest_range_that_holds_all_activity(first, last, step, buckets):
    found = resolve_time_range(Period.AUTO, max(T0, last) + 20_000, (first, last))
    assert (found.step_ms, found.buckets) == (step, buckets)
    assert found.first_ms <= first
    assert last < found.end_ms


def test_auto_without_activity_is_the_next_minutes():
    assert resolve_time_range(Period.AUTO, T0, None) == TimeRange(T0, MINUTE, 10)


def test_an_empty_chart_says_so_and_has_no_legend():
    chart = bars("x", "X", "", TimeRange(T0, MINUTE, 3), [Series("a", "one", [0, 0, 0], "0")], str)
    assert (chart.is_empty, chart.shapes, chart.series, chart.description) == (
        True,
        [],
        [],
        "No data in this period.",
    )


@pytest.mark.parametrize(
    ("counts", "half", "most"),
    [
        ({}, None, None),
        ({"took_250": 10}, 125.0, 237.5),
        ({"took_1000": 4, "took_2000": 6}, 1000 + 1000 / 6, 1000 + 1000 * 5.5 / 6),
        ({"took_2000": 1, "took_longer": 9}, 64_000.0, 64_000.0),
    ],
)
def test_quantiles_are_read_off_the_ranges(counts, half, most):
    assert latency.quantile(counts, 0.5) == pytest.approx(half)
    assert latency.quantile(counts, 0.95) == pytest.approx(most)
    assert len(LATENCY_BUCKETS) == len(LATENCY_MS) + 1


def test_addresses_keep_what_was_asked_and_leave_out_what_is_usual():
    asked = PageQuery(Period.WEEK, "a/b+c", "x & y", "1-ab")
    assert PageQuery().link() == "."
    assert asked.link(search=None, before=None) == "?since=week&run=a%2Fb%2Bc"
    assert asked.link("#marks", since="auto") == "?run=a%2Fb%2Bc&q=x+%26+y&before=1-ab#marks"
