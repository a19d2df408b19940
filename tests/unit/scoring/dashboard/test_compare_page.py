"""Two runs side by side on both databases: figures and tasks worked out by hand, and who may see
them.
"""

from __future__ import annotations

import pytest

from markbook.contract import MARK, PASS_AT_1
from markbook.scoring.dashboard.elapsed import ElapsedRange, cut_elapsed, elapsed
from markbook.scoring.store import OWNER, Viewer
from tests.fakes import true_score
from tests.unit.scoring.book import NOW, keep, marked, opened
from tests.unit.scoring.dashboard.test_samples_page import A, B, add_keys
from tests.unit.scoring.reading import Page
from tests.unit.scoring.store.test_samples import ANN, reject, rejected, weighed

__all__ = ["weighed"]

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


async def score(http, run, *pairs, headers=None):
    samples = [{"prompt": task, "language": "python", "code": code} for task, code in pairs]
    answer = await http.post("/score", json={"run": run, "samples": samples}, headers=headers or {})
    assert answer.status_code == 200, answer.text


async def report(http, run, step, **metrics):
    body = {"step": step, "metrics": {name: {"value": value} for name, value in metrics.items()}}
    answer = await http.post(f"/runs/{run}/metrics", json=body)
    assert answer.status_code < 300, answer.text


def code(number: int) -> str:
    return f"def add(a, b):\n    return a + b + {number}"


def rows(page: Page, number: int) -> list[list[str]]:
    table = page.all("table", "compared")[number]
    return [row.split() for row in table.text.split("\n") if row.strip()]


async def test_figures_of_two_runs_and_what_the_second_has_more(service, database_url, clock):
    async with service(database_url=database_url) as http:
        await score(http, "a", ("T1", code(1)), ("T1", code(2)), ("T2", code(3)), ("T2", ""))
        clock.now_ms += 3 * DAY
        await score(http, "b", ("T1", code(4)), ("T2", code(5)))
        await report(http, "a", 5, **{MARK: 0.5, PASS_AT_1: 0.25})
        await report(http, "b", 5, **{MARK: 0.75, PASS_AT_1: 0.2})
        answer = await http.get("/", params={"run": "a", "vs": "b"})
        assert answer.status_code == 200, answer.text
        page = Page(answer.text)
        stats = (await http.get("/stats")).json()["runs"]
    figures = {each.words: None for each in page.all("th")}
    assert {"mean mark", "latest pass@1", "dollars", "rejected by a tier"} <= figures.keys()
    text = " ".join(page.all("table", "compared")[0].words.split())
    means = [stats[run]["scores"]["mean"] for run in "ab"]
    sign = "+" if means[1] > means[0] else "−"
    assert f"mean mark {means[0]:.2f} {means[1]:.2f} {sign}{abs(means[1] - means[0]):.2f}" in text
    assert "latest evaluation 0.50 0.75 +0.25" in text
    assert "latest pass@1 0.25 0.20 −0.05" in text
    assert "samples 4 2 −2" in text
    # calls of 2, 1, 1 and 1 samples: 110 tokens and $0.00015 per sample
    assert "tokens 330 220 −110" in text
    assert "dollars $0.00045 $0.00030 −$0.00015" in text
    assert "rejected by a tier 25 % 0 % −25 %" in text.replace("\N{NO-BREAK SPACE}", " ")
    titles = [each.words for each in page.all("figcaption")]
    assert [title.split(",")[0][:9] for title in titles] == ["Mean mark", "pass@1 of", "Dollars s"]
    # three days apart, over each other from the start
    assert all("UTC" not in each.text for each in page.all("desc"))


async def test_the_tasks_that_differ_most_come_first(database_url):
    scores = {"near": ((0.5, 0.5), (0.6,)), "far": ((0.9,), (0.1, 0.3)), "middle": ((0.2,), (0.6,))}
    async with opened(database_url) as store:
        for task, pair in scores.items():
            for run, values in zip("ab", pair, strict=True):
                for number, value in enumerate(values):
                    new = rejected(
                        f"{run} {number}", f"{task}\nmore", run=run, at_ms=NOW, score=value
                    )
                    await reject(store, new)
        await keep(store, marked("x", "only of a"), run="a")
        found = await store.comparison.tasks(OWNER, "a", "b", 2)
        assert found.common == 3
        assert [(each.text, each.counts) for each in found.tasks] == [
            ("far", (1, 2)),
            ("middle", (1, 1)),
        ]
        assert [each.means for each in found.tasks] == [(0.9, pytest.approx(0.2)), (0.2, 0.6)]
        assert (await store.comparison.tasks(OWNER, "a", "c", 2)).tasks == []
        assert (await store.comparison.tasks(ANN, "a", "b", 2)).tasks == []


async def test_a_mark_counts_with_its_score_of_now(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("x"), run="a")
        await keep(store, marked("y"), run="b")
        [task] = (await store.comparison.tasks(Viewer(), "a", "b", 9)).tasks
    assert task.means == (pytest.approx(true_score("x")), pytest.approx(true_score("y")))


async def test_a_key_compares_its_own_runs_only_and_reads_of_no_others(service, database_url):
    await add_keys(database_url)
    async with service(database_url=database_url) as http:
        await score(http, "team-a/1", ("T", code(1)), headers=A)
        await score(http, "team-a/2", ("T", code(2)), headers=A)
        await score(http, "team-b/secret", ("T", code(3)), headers=B)
        for run, vs in (("team-a/1", "team-b/secret"), ("team-b/secret", "team-a/1")):
            assert (
                await http.get("/", params={"run": run, "vs": vs}, headers=A)
            ).status_code == 403
        mine = await http.get("/", params={"run": "team-a/1", "vs": "team-a/2"}, headers=A)
        assert mine.status_code == 200
        assert "1 task in both" in " ".join(mine.text.split())
        assert "secret" not in mine.text


async def test_a_comparison_of_runs_without_data_and_of_one_run_alone(service, database_url):
    async with service(database_url=database_url) as http:
        page = Page((await http.get("/", params={"run": "x", "vs": "y"})).text)
        alone = await http.get("/", params={"vs": "y"})
        await score(http, "a", ("T", code(1)))
        await score(http, "b", ("T", code(2)))
        [link] = [
            each.attributes["href"]
            for each in Page((await http.get("/")).text).all("a")
            if each.words == "compare two"
        ]
    assert "No task has samples of both runs." in page.one("main").words
    assert alone.status_code == 422
    assert "name both" in Page(alone.text).one("p", "wrong").words
    assert link in ("?run=a&vs=b", "?run=b&vs=a")


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        *[
            (0, "0 min"),
            (59_999, "0 min"),
            (MINUTE, "1 min"),
            (HOUR, "1 h"),
            (80 * MINUTE, "1 h 20 min"),
        ],
        *[(DAY + MINUTE, "1 d 1 min"), (2 * DAY + 3 * HOUR + MINUTE, "2 d 3 h")],
    ],
)
def test_a_time_since_the_start_is_said_in_two_units(ms, shown):
    assert elapsed(ms) == shown


def test_runs_of_different_days_are_cut_alike_from_their_own_starts():
    whole, own = cut_elapsed(
        [DAY + 7 * MINUTE, 5 * DAY], [DAY + 67 * MINUTE, 5 * DAY + 90 * MINUTE]
    )
    # 90 minutes do not fit 60 buckets of one minute, so two minutes each
    assert (whole, type(whole)) == (ElapsedRange(0, 2 * MINUTE, 47), ElapsedRange)
    assert [(each.first_ms, each.step_ms, each.buckets) for each in own] == [
        (DAY + 6 * MINUTE, 2 * MINUTE, 47),
        (5 * DAY, 2 * MINUTE, 47),
    ]
    assert [label for _, label in whole.ticks()][:2] == ["0 min", "30 min"]
