"""The list of samples on both databases: what is listed, filtered, sorted and grouped, who sees
it, and how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from markbook.config.settings import Budget
from markbook.contract import SampleTests
from markbook.scoring.pipeline.sample_weights import sample_weights
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import (
    OWNER,
    ApiKey,
    Order,
    SampleFilter,
    Store,
    Viewer,
    sample_filter,
    samples,
)
from markbook.scoring.store.engine import migrate, open_engine, transaction
from markbook.scoring.store.sample_rows import NewSample, Weights
from tests.fakes import true_criteria, true_score
from tests.unit.scoring.book import GROUP, NOW, PROFILE, count, keep, marked, named, opened
from tests.unit.scoring.store.test_migrations import CRITERIA, MINE, old_mark, write_old_book

ANN = Viewer(ApiKey("ann", b"", "team-a/*", Budget(), 1))
FAILED = SampleTests(passed=1, total=3, first_failure="assert f(1) == 2: expected 2, got 1")


@pytest.fixture(autouse=True)
def weighed(monkeypatch) -> None:
    """Stores of these tests score marks with the built-in rubric's weights."""
    opened_plainly = Store.open

    def open_weighed(self, profile, *rest):
        opened_plainly(self, profile, *rest)
        self.marks.weights = self.marks.weights or sample_weights(PROFILE, load_rubric())

    monkeypatch.setattr(Store, "open", open_weighed)


def rejected(code: str, task: str = "task", *, run: str = "", at_ms: int = NOW, **changes: object):
    mark = marked(code, task)
    sample = NewSample(mark.fingerprint, "heuristic", 0.02, run, at_ms, code, ("syntax_error",))
    return replace(sample, **changes), mark.texts


async def reject(store: Store, *new, note_runs: bool = False) -> None:
    await store.samples.add_decided(list(new), note_runs=note_runs)


async def lines(store: Store, viewer: Viewer = OWNER, **wanted: object) -> list[str | None]:
    found = await store.samples.latest(viewer, SampleFilter(**wanted), 100)
    return [each.first_line for each in found]


async def test_marks_and_rejects_are_listed_with_what_they_are_filtered_by(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("  first\nsecond"), run="a")
        await reject(
            store,
            rejected("broken(", run="b", at_ms=NOW + 1),
            rejected(
                "wrong",
                run="b",
                at_ms=NOW + 2,
                source="tests",
                score=0.1,
                reasons=("tests_failed",),
                tests=FAILED,
            ),
        )
        found = await store.samples.latest(OWNER, SampleFilter(), 100)
        assert [(each.first_line, each.source, each.reasons, each.runs) for each in found] == [
            ("wrong", "tests", ("tests_failed",), {"b"}),
            ("broken(", "heuristic", ("syntax_error",), {"b"}),
            ("first", "teacher", (), {"a"}),
        ]
        assert found[2].score == pytest.approx(true_score("  first\nsecond"))
        assert await lines(store, source="tests") == ["wrong"]
        assert await lines(store, reason="syntax_error") == ["broken("]
        assert await lines(store, run="a") == ["first"]
        assert await lines(store, language="rust") == []
        assert await lines(store, min_score=0.02, max_score=0.1) == ["wrong", "broken("]
        assert await lines(store, max_score=0.0999) == ["broken("]
        facets = await store.samples.facets(OWNER, "b")
        assert {(each.source, each.reason, each.count) for each in facets} == {
            ("tests", "tests_failed", 1),
            ("heuristic", "syntax_error", 1),
        }


@pytest.mark.parametrize("order", [*Order])
async def test_every_order_is_read_page_by_page_without_loss(database_url, order):
    codes = [f"code {number}" for number in range(13)]
    async with opened(database_url) as store:
        for number, code in enumerate(codes):
            await reject(store, rejected(code, at_ms=NOW + number // 2, score=number % 3 / 8))
        seen, after = [], None
        while page := await store.samples.latest(OWNER, SampleFilter(order), 4, after):
            seen += page
            after = page[-1].cursor(order)
        values = [each.at_ms if order is Order.LATEST else each.score for each in seen]
        assert values == sorted(values, reverse=order is not Order.LOWEST)
        assert sorted(each.first_line for each in seen) == sorted(codes)
        before, following = await store.samples.neighbours(
            OWNER, SampleFilter(order), seen[5].cursor(order)
        )
        assert (before, following) == (seen[4].key, seen[6].key)
        ends = [
            await store.samples.neighbours(OWNER, SampleFilter(order), seen[at].cursor(order))
            for at in (0, -1)
        ]
        assert (ends[0][0], ends[1][1]) == (None, None)


@pytest.mark.parametrize(
    ("order", "expected"),
    [("latest", "CBA"), ("lowest", "BAC"), ("highest", "CAB")],
    ids=lambda each: str(each),
)
async def test_tasks_are_sorted_by_their_newest_lowest_or_highest_sample(
    database_url, order, expected
):
    scores = {"A": (0.3, 0.4), "B": (0.1, 0.2), "C": (0.35, 0.9)}
    async with opened(database_url) as store:
        for number, (task, values) in enumerate(scores.items()):
            for score in values:
                await reject(
                    store,
                    rejected(f"{task} {score}", f"\n{task}\nmore", at_ms=NOW + number, score=score),
                )
        wanted = SampleFilter(Order(order))
        whole = await store.samples.tasks(OWNER, wanted, 9)
        assert "".join(each.text for each in whole) == expected
        assert [(each.count, each.mean) for each in whole if each.text == "C"] == [
            (2, pytest.approx(0.625))
        ]
        first = await store.samples.tasks(OWNER, wanted, 1)
        rest = await store.samples.tasks(
            OWNER, wanted, 9, sample_filter.SampleCursor(first[0].value, first[0].task)
        )
        assert [*first, *rest] == whole
        [only] = await store.samples.tasks(OWNER, replace(wanted, task=whole[1].task), 9)
        assert only.text == expected[1]


async def test_of_a_task_only_the_first_are_shown_in_the_order_asked_for(database_url):
    async with opened(database_url) as store:
        for number in range(7):
            await reject(
                store, rejected(f"{number}", at_ms=NOW + number, score=(number * 3 % 7) / 10)
            )
        [lowest] = await store.samples.tasks(OWNER, SampleFilter(Order.LOWEST), 9)
        assert [each.score for each in lowest.samples] == pytest.approx([0.0, 0.1, 0.2, 0.3])
        assert lowest.count == 7
        assert samples.PER_TASK == 4


async def test_a_key_for_some_runs_sees_what_these_paid_for_or_were_given(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("mine"), run="team-a/1")
        await keep(store, marked("given"), marked("theirs"), run="team-b/1")
        await store.given.add([named("given").row], "team-a/2")
        await reject(
            store,
            rejected("reject", run="team-b/1"),
            rejected("both", run="team-b/1"),
            note_runs=True,
        )
        await reject(store, rejected("both", run="team-a/2"), note_runs=True)
        await keep(store, marked("more"), run="team-a/2")
        assert set(await lines(store, ANN)) == {"mine", "given", "both", "more"}
        assert set(await lines(store, ANN, run="team-a/2")) == {"given", "both", "more"}
        assert {
            run for each in await store.samples.latest(ANN, SampleFilter(), 9) for run in each.runs
        } == {
            "team-a/1",
            "team-a/2",
        }
        assert sum(each.count for each in await store.samples.facets(ANN, None)) == 4
        [task] = await store.samples.tasks(ANN, SampleFilter(), 9)
        assert task.count == 4
        together, others = await store.samples.beside(
            ANN, named("mine").row, task.task, bytes.fromhex(GROUP), 9
        )
        assert {each.first_line for each in [*together, *others]} == {"given", "both", "more"}
        for code, is_seen in (
            ("mine", True),
            ("given", True),
            ("theirs", False),
            ("reject", False),
            ("both", True),
        ):
            assert bool(await store.whole_samples.get(ANN, named(code).row)) is is_seen


async def test_a_mark_takes_the_place_of_a_reject_and_not_the_other_way_round(database_url):
    async with opened(database_url) as store:
        await reject(store, rejected("one", run="a"))
        await keep(store, marked("one"), run="b")
        await reject(store, rejected("one", run="c"))
        [found] = await store.samples.latest(OWNER, SampleFilter(), 9)
    assert (found.source, found.reasons, found.runs) == ("teacher", (), {"b"})


async def test_the_oldest_rejects_above_the_number_kept_go_with_their_texts(database_url):
    async with opened(database_url, keep_rejects=2) as store:
        for number, code in enumerate("abcd"):
            await reject(store, rejected(code, f"task {code}", at_ms=NOW + number))
        await keep(store, marked("marked"), at_ms=NOW - 5)
        await store.maintenance.run_once(NOW)
        assert await lines(store) == ["d", "c", "marked"]
        assert (await count(store, "texts"), await count(store, "tasks")) == (3, 3)
        await store.maintenance.run_once(NOW)
        assert len(await lines(store)) == 3


async def test_an_explanation_goes_with_its_reject_unless_it_is_being_made(database_url):
    async with opened(database_url, keep_rejects=1) as store:
        for number, code in enumerate("abc"):
            await reject(store, rejected(code, at_ms=NOW + number))
            assert await store.explanations.acquire(named(code).row, "r", "m", NOW, 500)
        for code in "ac":
            await store.explanations.record(named(code).row, ["why"], {}, NOW)
        await store.maintenance.run_once(NOW)
        assert await lines(store) == ["c"]
        # a is gone; b waits for its reason, which is paid for; c stays
        left = [
            await store.explanations.acquire(named(code).row, "r", "m", NOW, 500) for code in "abc"
        ]
        assert left == [True, False, False]


async def test_a_mark_that_is_evicted_is_no_longer_listed(database_url):
    async with opened(database_url, max_entries=1) as store:
        await keep(store, marked("a"), at_ms=NOW)
        await keep(store, marked("b"), at_ms=NOW + 5_000)
        await store.maintenance.run_once(NOW)
        assert await lines(store) == ["b"]


async def test_a_line_of_code_goes_with_the_text_and_is_not_kept_without_texts(database_url):
    async with opened(database_url, texts_max_age_ms=10) as store:
        await keep(store, marked("old"), at_ms=NOW)
        await reject(store, rejected("old reject", at_ms=NOW), rejected("new", at_ms=NOW + 20))
        await store.maintenance.run_once(NOW + 20)
        assert await lines(store) == ["new", None, None]
        whole = await store.whole_samples.get(OWNER, named("old").row)
        assert (whole.texts, whole.criteria) == (None, true_criteria("old"))


async def test_without_texts_samples_are_listed_without_a_line_of_them(database_url):
    async with opened(database_url, store_samples=False) as store:
        await keep(store, marked("a"))
        await reject(store, rejected("b"))
        assert await lines(store) == [None, None]
        assert [each.text for each in await store.samples.tasks(OWNER, SampleFilter(), 9)] == [None]
        assert await count(store, "texts") == 0


async def test_sorting_and_filtering_stop_at_the_latest_so_many(database_url, monkeypatch):
    monkeypatch.setattr(sample_filter, "MAX_SAMPLES", 3)
    async with opened(database_url) as store:
        for number in range(5):
            await reject(store, rejected(f"{number}", at_ms=NOW + number, score=number / 10))
        assert await lines(store, order=Order.LOWEST) == ["2", "3", "4"]
        assert sum(each.count for each in await store.samples.facets(OWNER, None)) == 3


async def test_marks_of_before_the_list_are_listed_at_the_start_and_scored_anew_when_weights_change(
    empty_database_url,
):
    filler = [old_mark(MINE, f"code {number}", CRITERIA) for number in range(450)]
    write_old_book(empty_database_url, filler)
    for correctness, expected in (
        (1.0, CRITERIA["correctness"]),
        (0.5, CRITERIA["correctness"] / 2),
    ):
        store = Store(empty_database_url, 1_000)
        weights = Weights(
            MINE,
            f"id {correctness}",
            lambda given, _, share=correctness: share * given["correctness"],
        )
        store.open(MINE, {"teacher": "x"}, 9, list(CRITERIA), weights)
        assert await store.backfill.run() == 450
        assert await store.backfill.run() == 0
        found = await store.samples.latest(OWNER, SampleFilter(), 500)
        assert [each.score for each in found] == pytest.approx([expected] * 450)
        await store.close()


async def test_tests_decide_the_score_of_a_listed_mark_as_they_do_that_of_the_sample(database_url):
    passed = SampleTests(passed=2, total=2)
    async with opened(database_url) as store:
        await keep(store, replace(marked("right"), tests=passed))
        [found] = await store.samples.latest(OWNER, SampleFilter(), 9)
        whole = await store.whole_samples.get(OWNER, named("right").row)
    rubric = load_rubric()
    assert found.score == pytest.approx(
        rubric.score({**true_criteria("right"), "correctness": 1.0})
    )
    assert (whole.tests, whole.criteria) == (passed, true_criteria("right"))


def test_the_migration_leaves_old_stores_as_they_are(empty_database_url):
    engine = open_engine(empty_database_url)
    migrate(engine, "0008")
    migrate(engine)
    with transaction(engine) as connection:
        tables: Sequence[str] = ("samples", "explanations", "exchanges")
        assert [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables] == [
            0,
            0,
            0,
        ]
    engine.dispose()


def test_an_identifier_of_weights_differs_with_them_and_not_with_the_text():
    rubric = load_rubric()
    same = replace(rubric, text="other")
    other = replace(rubric, criteria=dict(zip(rubric.criteria, (0.4, 0.2, 0.2, 0.2), strict=True)))
    ids = [sample_weights(PROFILE, each).id for each in (rubric, same, other)]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)
