"""The page's first charts: mean marks with reported evaluations, pass@1, and the marks by range
over time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from markbook.config.settings import Budget
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.dashboard.learning_charts import build_learning_charts, named_runs
from markbook.scoring.dashboard.learning_svg import LEVELS, histogram
from markbook.scoring.dashboard.svg import Chart
from markbook.scoring.dashboard.time_range import TimeRange
from markbook.scoring.dashboard.totals import Totals, build_totals
from markbook.scoring.store import ApiKey, RequestLine, Store
from markbook.scoring.store.rollups import Rollups
from markbook.scoring.store.run_metrics import ReportedMetric
from markbook.scoring.store.score_sums import sum_scores
from tests.unit.scoring.reading import Page

MINUTE, DAY = 60_000, 86_400_000
T0 = 19_000 * DAY
RANGE = TimeRange(T0, MINUTE, 4)


def totals(scores: dict[tuple[int, str], list[float]], teacher: int = 1) -> Totals:
    """Of scores by minute and run."""
    sums = Rollups(MINUTE)
    for (minute, run), values in scores.items():
        line = {
            "at_ms": T0 + minute * MINUTE,
            "run": run,
            "samples": len(values),
            "baseline_tokens": 0,
        }
        line |= {
            "heuristic": 0,
            "tests": 0,
            "cache": 0,
            "coalesced": 0,
            "teacher": teacher,
            "unscored": None,
        }
        half = len(values) // 2
        parts = {"teacher": sum_scores(values[:half]), "cache": sum_scores(values[half:])}
        sums.add_request(line | {"scores": str(parts).replace("'", '"')})
    return build_totals(sums, RANGE)


def reported(
    run: str, step: int, name: str, value: float, at_ms: int, half: float | None = None
) -> ReportedMetric:
    low, high = (None, None) if half is None else (value - half, value + half)
    return ReportedMetric(run, step, name, value, low, high, at_ms)


def charts(
    found: Totals, reports: Sequence[ReportedMetric] = (), reporting: tuple[str, ...] = ()
) -> dict[str, Chart]:
    built = build_learning_charts(
        found, reports, reporting or [each.run for each in reports], lambda run: f"?run={run}"
    )
    return {chart.id: chart for chart in built}


def test_the_mean_of_a_run_is_over_all_its_sources_and_zero_is_a_mark():
    found = charts(
        totals({(0, "a"): [0.2, 0.4, 0.9], (1, "a"): [0.0], (3, "a"): [1.0], (1, "b"): [0.5]})
    )["marks"]
    [table] = found.tables
    assert table.columns == ("from, UTC", "a", "b")
    assert table.rows == [
        ("8 Jan 00:00", "0.50", ""),
        ("8 Jan 00:01", "0.00", "0.50"),
        ("8 Jan 00:03", "1.00", ""),
    ]
    line, dots, *_ = found.shapes
    # from 8 (1.0) down to 146 (0.0); the middle of each of four buckets of 82
    assert (line.tone, line.path) == ("one", "M87.0 77.0L169.0 146.0M333.0 8.0")
    assert (dots.kind, dots.path.count("h0")) == ("dots", 3)
    assert [(each.name, each.total, each.link) for each in found.series] == [
        ("a", "0.50", "?run=a"),
        ("b", "0.50", "?run=b"),
    ]
    assert [tick.label for tick in found.y_ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert found.description == "From 8 Jan 00:00 UTC: a from 0.50 to 1.00; b from 0.50 to 0.50."


def test_evaluations_are_diamonds_with_intervals_at_their_time():
    reports = [
        reported("a", 0, "mark", 0.25, T0 + 30_000, half=0.125),
        reported("a", 20, "mark", 0.5, T0 + 2 * MINUTE),
        reported(
            "a", 20, "pass_at_1", 2.0, T0 + 2 * MINUTE, half=0.25
        ),  # any trainer may report any number
        reported("a", 30, "mark", 0.9, T0 + 4 * MINUTE),  # after the range
    ]
    found = charts(totals({(0, "a"): [0.5]}), reports)
    marks = [
        (shape.kind, shape.path)
        for shape in found["marks"].shapes
        if shape.kind in ("trend", "interval", "report")
    ]
    assert marks == [
        ("trend", "M87.0 111.5L210.0 77.0"),
        ("interval", "M87.0 128.8V94.2"),
        ("report", "M87.0 105.5l6.0 6.0l-6.0 6.0l-6.0 -6.0z"),
        ("report", "M210.0 71.0l6.0 6.0l-6.0 6.0l-6.0 -6.0z"),
    ]
    assert found["marks"].tables[1].rows == [
        ("2022-01-08 00:00", "a", "0", "0.25 (0.12 to 0.38)"),
        ("2022-01-08 00:02", "a", "20", "0.50"),
    ]
    assert (
        found["marks"].hover_zones[0].text
        == "8 Jan 00:00 UTC\na 0.50\na, evaluation after step 0: 0.25 (0.12 to 0.38)"
    )
    assert [(each.name, each.total) for each in found["marks"].series] == [
        ("a", "0.50"),
        ("a, evaluation", "0.50"),
    ]
    assert [shape.path for shape in found["pass"].shapes if shape.kind == "interval"] == [
        "M210.0 8.0V8.0"
    ]
    assert [(each.name, each.total) for each in found["pass"].series] == [
        ("a", "2.00 (1.75 to 2.25)")
    ]


def test_without_reports_there_is_no_pass_at_1_and_without_scores_nothing():
    found = charts(totals({(0, "a"): [0.5]}))
    assert (found["marks"].is_empty, found["pass"].is_empty, found["histogram"].is_empty) == (
        False,
        True,
        False,
    )
    assert [chart.is_empty for chart in charts(totals({})).values()] == [True] * 3


def test_five_runs_are_named_and_the_rest_is_one_line():
    many = totals({(0, f"run-{number}"): [number / 10] for number in range(7)})
    assert [(each.name, each.total) for each in charts(many)["marks"].series] == [
        *((f"run-{number}", f"{number / 10:.2f}") for number in range(5)), ("other runs", "0.55"),
    ]  # fmt: skip
    assert (
        charts(totals({(0, f"run-{number}"): [0.5] for number in range(5)}))["marks"]
        .series[-1]
        .name
        == "run-4"
    )


def test_the_evaluations_of_a_run_that_reports_them_have_no_line():
    found = totals({(0, "a"): [0.5], (0, "a/eval"): [0.9], (0, "b/eval"): [0.1]})
    assert named_runs(found, ["a", "c"]) == ["a", "b/eval", "c"]  # and who only reports has a name
    assert named_runs(found, []) == ["a", "a/eval", "b/eval"]
    assert [each.name for each in charts(found, reporting=("a",))["marks"].series] == [
        "a",
        "b/eval",
    ]


def test_the_histogram_is_by_share_of_its_time():
    columns = [[1, 0, 0, 0, 0, 0, 0, 0, 0, 15], [0] * 10, [0, 0, 0, 0, 0, 4, 4, 0, 0, 0], [0] * 10]
    chart = histogram("h", "H", "", RANGE, columns)
    # a sixteenth is the first of eight shades up to one half; 82 wide, 13.8 high
    assert [(shape.tone, shape.path) for shape in chart.shapes] == [
        ("level-1", "M46.0 146.0h82.0V132.2h-82.0z"),
        (
            f"level-{LEVELS}",
            "M46.0 21.8h82.0V8.0h-82.0zM210.0 77.0h82.0V63.2h-82.0zM210.0 63.2h82.0V49.4h-82.0z",
        ),
    ]
    [table] = chart.tables
    assert table.columns[:2] == ("from, UTC", "≤ 0.1")
    assert [row[0] for row in table.rows] == ["8 Jan 00:00", "8 Jan 00:02"]
    assert table.rows[0][1:] == ("1", "0", "0", "0", "0", "0", "0", "0", "0", "15")
    assert chart.description.startswith("24 marks; most are above 0.9 to 1.0: 62")
    assert chart.hover_zones[0].text == "8 Jan 00:00 UTC\nabove 0.9 to 1.0: 15\n0.0 to 0.1: 1"


async def test_the_page_begins_with_learning_and_shows_a_run_that_only_reports(
    service, database_url
):
    async with service(database_url=database_url) as http:
        await http.post(
            "/runs/alone/metrics", json={"step": 5, "metrics": {"mark": {"value": 0.7}}}
        )
        alone = Page((await http.get("/")).text)
        sample = {
            "prompt": "Write add(a, b).",
            "language": "python",
            "code": "def add(a, b):\n    return a + b\n",
        }
        await http.post("/score", json={"run": "demo", "samples": [sample]})
        page = Page((await http.get("/")).text)
        demo = Page((await http.get("/", params={"run": "demo"})).text)
    assert [each.attributes["id"] for each in alone.all("figure")] == ["chart-marks"]
    assert "alone" in alone.one("figure").words
    assert [each.attributes["id"] for each in page.all("figure")][:2] == [
        "chart-marks",
        "chart-histogram",
    ]
    assert "alone" not in demo.all("figure")[0].words
    assert page.all("summary")[0].words == "as a table"
    current = [each.words for each in page.all("a") if each.attributes.get("aria-current")]
    assert current == ["Auto"]
    order = [each.attributes.get("id") or each.attributes.get("class") for each in page.elements]
    assert order.index("chart-marks") < order.index("figures")


async def test_a_key_sees_the_curves_of_its_runs_only(service, database_url, clock):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    await store.keys.add(ApiKey("a", hash_secret("mb_a"), "team-a/*", Budget(), 1))
    for number, run in enumerate(("team-a/1", "team-b/1")):
        line = RequestLine(
            f"r{number}", run, clock.now_ms, 1, 0, 0, 0, 0, 1, {}, 0, {"teacher": sum_scores([0.5])}
        )
        await store.ledger.count([line])
        await store.run_metrics.add(run, 1, {"mark": (0.5, None, None)}, clock.now_ms)
    await store.close()
    async with service(database_url=database_url) as http:
        signed_in = await http.post("/login", content="key=mb_a")
        page = await http.get(
            "/", headers={"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
        )
    assert page.status_code == 200
    assert "team-a/1" in page.text
    assert "team-b" not in page.text


@pytest.mark.parametrize("since", ["auto", "hour", "day", "week", "all"])
async def test_every_period_shows_a_first_sample(service, since):
    sample = {
        "prompt": "Write add(a, b).",
        "language": "python",
        "code": "def add(a, b):\n    return a + b\n",
    }
    async with service() as http:
        await http.post("/score", json={"samples": [sample]})
        page = Page((await http.get("/", params={"since": since})).text)
    assert "chart-marks" in [each.attributes["id"] for each in page.all("figure")]
