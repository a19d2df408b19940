"""The page's chart and table of the teacher against tests."""

from __future__ import annotations

from collections import Counter

from markbook.contract import AgreementCount
from markbook.scoring.dashboard.agreement import build_agreement_chart, build_agreement_rows
from markbook.scoring.dashboard.time_range import TimeRange
from markbook.scoring.dashboard.totals import build_totals
from markbook.scoring.store import JudgedKind
from markbook.scoring.store.rollups import Rollups
from tests.unit.scoring.dashboard.test_page import shown
from tests.unit.scoring.pipeline.test_score import score
from tests.unit.scoring.pipeline.test_tests_tier import RIGHT, WRONG, sample

MINUTE, DAY = 60_000, 86_400_000
T0 = 19_000 * DAY
PROFILE = bytes(8)


def kind(passed: bool, percent: int) -> JudgedKind:
    return JudgedKind(PROFILE, "python", passed, percent)


def chart(cells: dict[tuple[int, str], dict[JudgedKind, int]], *runs: str):
    sums = Rollups(MINUTE)
    for (minute, run), judged in cells.items():
        sums.tallies[T0 + minute * MINUTE, run].judged = Counter(judged)
    return build_agreement_chart(
        build_totals(sums, TimeRange(T0, MINUTE, 4)), runs, lambda run: f"?run={run}"
    )


def test_a_point_rests_on_ten_samples():
    found = chart(
        {
            (0, "a"): {
                kind(True, 90): 6,
                kind(True, 10): 2,
                kind(False, 10): 1,
                kind(False, 90): 1,
            },
            (1, "a"): {kind(True, 90): 9},
            (2, "a"): {kind(True, 90): 5, kind(True, 10): 5},
        },
        *"ab",
    )
    [table] = found.tables
    assert table.columns == ("from, UTC", "a")
    # 6 of 8 and 1 of 2; nine samples have no point; 5 of 10
    assert [row for row in table.rows if row[1]] == [
        ("8 Jan 00:00", "0.62"),
        ("8 Jan 00:02", "0.50"),
    ]
    [series] = found.series
    # in all: 20 of 27 that passed, 1 of 2 that failed
    assert (series.total, series.link) == ("0.62 of 29", "?run=a")


def test_without_tests_there_is_no_chart():
    assert chart({(0, "a"): {}}, "a").is_empty


def test_a_row_has_what_its_figures_rest_on():
    count = AgreementCount(
        run="a",
        profile="00" * 8,
        model="claude-haiku-5-5",
        rubric="0123456789ab",
        language="python",
        passed=1_000,
        passed_agreeing=900,
        failed=4,
        failed_agreeing=3,
        agreement=0.825,
        low=0.6,
        high=0.93,
    )
    [row] = build_agreement_rows([count], ["a"])
    assert row.cells == (
        "claude-haiku-5-5",
        "0123456789ab",
        "python",
        "900 of 1,000",
        "3 of 4",
        "0.82 (0.60 to 0.93)",
        "–",
    )
    assert (row.run, row.is_low) == ("a", True)
    assert not build_agreement_rows([count], ["b"])[0].is_low


async def test_the_page_shows_it_once_there_are_judgments(service, database_url):
    async with service({"rlaif": {"tests_audit_rate": 1.0}}, database_url=database_url) as http:
        await score(http, sample(RIGHT, []))
        before = await shown(http)
        await score(http, sample(RIGHT), sample(WRONG))
        after = await shown(http)
    assert "failed, called wrong" not in before.one("main").words
    assert "failed, called wrong" in after.one("main").words
    assert any(each.words.startswith("Teacher against tests counted") for each in after.all("h2"))
