"""Sums and histograms of scores: exact, by run, source and time, on both databases, and on the
wire.
"""

from __future__ import annotations

from itertools import permutations

import pytest
from sqlalchemy import text

from markbook.config.settings import Budget
from markbook.contract import ErrorCode, ScoreStats, Source
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.api.stats import sum_counters
from markbook.scoring.store import OWNER, ApiKey, RequestLine, Store, score_sums
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.score_sums import mean_and_std, sum_scores
from markbook.scoring.types import ScoringFailure
from tests.unit.scoring.book import count, opened
from tests.unit.scoring.observability.test_metrics import scrape

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 19_000 * DAY
SAMPLE = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b\n",
}


def line(number: int, at_ms: int, run: str = "a", **scores: list[float]) -> RequestLine:
    samples = {
        source: len(scores.get(source, []))
        for source in ("heuristic", "tests", "cache", "coalesced", "teacher")
    }
    sums = {source: sum_scores(each) for source, each in scores.items()}
    return RequestLine(
        f"request-{number:04}",
        run,
        at_ms,
        sum(samples.values()),
        **samples,
        unscored={},
        baseline_tokens=0,
        scores=sums,
    )


@pytest.mark.parametrize(
    ("score", "place"),
    [
        (0.0, 0),
        (0.000001, 0),
        (0.1, 0),
        (0.100001, 1),
        (0.3, 2),
        (0.300001, 3),
        (0.7, 6),
        (0.9, 8),
        (0.900001, 9),
        (1, 9),
    ],
)
def test_a_bin_includes_its_upper_end(score, place):
    [_, _, *bins] = sum_scores([score])
    assert bins == [int(number == place) for number in range(10)]


def test_sums_by_hand():
    assert sum_scores([]) == [0] * 12
    assert sum_scores([0.5, 0.25, 1.0, 0.000001]) == [
        1_750_001,
        1_312_500_000,
        1,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
    ]
    # squares are rounded to 1e-9 each: 0.333333² = 0.111110888889
    assert sum_scores([0.333333])[1] == 111_110_889


def test_no_order_of_addition_changes_the_sums():
    scores = (0.1, 0.2, 0.3, 0.7, 0.333333)
    assert len({tuple(sum_scores(each)) for each in permutations(scores)}) == 1


def test_mean_and_deviation_by_hand():
    named = dict(zip(score_sums.COLUMNS, sum_scores([0.2, 0.4, 0.6, 0.8]), strict=True))
    assert mean_and_std(named) == pytest.approx((0.5, 0.05**0.5))
    same = dict(
        zip(score_sums.COLUMNS, sum_scores([0.999999] * 3), strict=True)
    )  # its variance is -1e-12 in integers
    assert mean_and_std(same) == pytest.approx((0.999999, 0.0), abs=1e-4)
    assert mean_and_std(dict.fromkeys(score_sums.COLUMNS, 0)) is None


async def test_sums_are_by_run_source_and_time_and_stay_when_lines_go(database_url):
    async with opened(database_url, lines_max_age_ms=7 * DAY) as store:
        lines = [
            line(1, T0, teacher=[0.5, 1.0], cache=[0.25]),
            line(2, T0 + MINUTE - 1, teacher=[0.1]),
            line(3, T0 + MINUTE, heuristic=[0.0, 0.05]),
            line(4, T0 + HOUR, "b", tests=[0.1]),
        ]
        await store.ledger.count(lines)
        await store.ledger.count(lines[:2])  # sent again
        before = sum_counters(await store.ledger.sums(OWNER))
        points = (await store.ledger.sums(OWNER, 0, MINUTE)).tallies
        late = sum_counters(await store.ledger.sums(OWNER, T0 + 1))[1]["a"]
        assert await count(store, "score_rollups") == 7  # with those of all sources together
        await store.maintenance.run_once(T0 + 8 * DAY)
        assert await count(store, "ledger_requests") == 0
        assert await count(store, "score_rollups") == 6
        assert sum_counters(await store.ledger.sums(OWNER)) == before
        assert set((await store.ledger.sums(OWNER, 0, MINUTE)).tallies) == {
            (T0, "a"),
            (T0 + HOUR, "b"),
        }
    totals, runs = before
    teacher = runs["a"].scores_by_source[Source.TEACHER]
    assert teacher == ScoreStats(
        count=3,
        mean=1.6 / 3,
        std=(1.26 / 3 - (1.6 / 3) ** 2) ** 0.5,
        sum=1.6,
        sum_of_squares=1.26,
        histogram=[1, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    )
    assert set(runs["a"].scores_by_source) == {Source.TEACHER, Source.CACHE, Source.HEURISTIC}
    assert (runs["a"].scores.count, runs["a"].scores.sum) == (6, 1.9)
    assert (totals.scores.count, totals.scores.sum) == (7, 2.0)
    assert [
        sum(tally.scores["teacher"][name] for name in score_sums.BIN_COLUMNS)
        for tally in points.values()
    ] == [
        3,
        0,
        0,
    ]
    assert (late.scores.count, late.scores.sum) == (
        3,
        0.15,
    )  # of a minute that is only partly in range


async def test_a_store_of_the_version_before_opens_and_keeps_its_counts(empty_database_url):
    engine = open_engine(empty_database_url)
    migrate(engine, "0007")
    sums = {
        "run": "a",
        "at_ms": T0,
        "samples": 5,
        "heuristic": 1,
        "cache": 2,
        "teacher": 2,
        "baseline_tokens": 7,
    }
    with transaction(engine) as connection:
        columns = connection.execute(text("SELECT * FROM ledger_rollups")).keys()
        row = dict.fromkeys(columns, 0) | sums
        names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO ledger_rollups ({names}) VALUES ({values})"), row)
        connection.execute(
            text(f"INSERT INTO ledger_requests VALUES ('r', 'a', {T0}, 5, 1, 2, 0, 2, NULL, 7, 0)")
        )
    engine.dispose()
    async with opened(empty_database_url) as store:
        await store.ledger.count([line(1, T0, teacher=[0.5])])
        for since_ms in (0, T0 - 1):  # from the rollups, and from the lines
            [counted] = sum_counters(await store.ledger.sums(OWNER, since_ms))[1].values()
            assert (counted.samples, counted.by_source[Source.TEACHER], counted.tokens_saved) == (
                6,
                3,
                7,
            )
            assert (counted.scores.count, counted.scores.mean) == (1, 0.5)


async def test_stats_and_their_series_have_the_scores(service, teacher, database_url):
    refusal = SAMPLE["code"].replace("add", "plus")
    teacher.failures[refusal] = ScoringFailure(ErrorCode.TEACHER_REFUSED, "no")
    async with service(database_url=database_url) as http:
        codes = (SAMPLE["code"], SAMPLE["code"], "def f(: pass", refusal)
        answer = await http.post(
            "/score", json={"run": "a", "samples": [SAMPLE | {"code": code} for code in codes]}
        )
        again = await http.post("/score", json={"run": "a", "samples": [SAMPLE]})
        stats = (await http.get("/stats")).json()
        [point] = (await http.get("/stats/series")).json()["points"]
        metrics = await scrape(http)
    first, second, broken, refused = answer.json()["results"]
    assert [each["source"] for each in (first, second, broken, refused)] == [
        "teacher",
        "coalesced",
        "heuristic",
        None,
    ]
    scores = [first["score"], first["score"], broken["score"], again.json()["results"][0]["score"]]
    counted = stats["runs"]["a"]
    assert counted["scores"]["sum"] == pytest.approx(sum(scores), abs=1e-6)
    assert counted["scores"]["mean"] == pytest.approx(sum(scores) / 4, abs=1e-6)
    assert counted["scores"]["histogram"] == sum_scores(scores)[2:]
    assert {
        source: each["count"] for source, each in counted["scores_by_source"].items()
    } == dict.fromkeys(("cache", "coalesced", "heuristic", "teacher"), 1)
    assert counted["samples"] == counted["scores"]["count"] + counted["unscored"] == 5
    assert stats["totals"]["scores"] == point["runs"]["a"]["scores"] == counted["scores"]
    by_source = counted["scores_by_source"]
    for source in Source:
        mine = by_source.get(source, ScoreStats().model_dump())
        assert (
            metrics("score_count", source=source)
            == metrics("samples_total", source=source)
            == mine["count"]
        )
        assert metrics("score_sum", source=source) == pytest.approx(mine["sum"])
        assert metrics("score_squares_total", source=source) == pytest.approx(
            mine["sum_of_squares"]
        )
        ends = [
            metrics("score_bucket", source=source, le=str(number / 10)) for number in range(1, 11)
        ]
        assert ends == [sum(mine["histogram"][:number]) for number in range(1, 11)]
        assert metrics("score_bucket", source=source, le="+Inf") == mine["count"]


async def test_a_key_of_some_runs_sees_the_scores_of_these_only(service, database_url):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, runs in (("root", "*"), ("a", "team-a/*")):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), runs, Budget(), 1))
    await store.close()
    root, mine = ({"Authorization": f"Bearer mb_{name}"} for name in ("root", "a"))
    async with service(database_url=database_url) as http:
        for run in ("team-a/1", "team-b/1"):
            await http.post("/score", json={"run": run, "samples": [SAMPLE]}, headers=root)
        seen = (await http.get("/stats", headers=mine)).json()
        [point] = (await http.get("/stats/series", headers=mine)).json()["points"]
        everything = (await http.get("/stats", headers=root)).json()
    assert (seen["totals"]["scores"]["count"], everything["totals"]["scores"]["count"]) == (1, 2)
    assert list(seen["runs"]) == list(point["runs"]) == ["team-a/1"]
