"""What a key for some runs sees of the store: marks that its runs paid for or were given, and
nothing of the others.
"""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.errors import TeacherError
from markbook.scoring.store import OWNER, ApiKey, RetentionPolicy, Store
from markbook.scoring.store.engine import open_engine, transaction
from tests.fakes import RecordingTeacher
from tests.unit.scoring.book import keep, marked, opened

SAMPLE = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b\n",
}
ROOT, A, B = ({"Authorization": f"Bearer mb_{name}"} for name in ("root", "a", "b"))


@pytest.fixture
async def keyed(service, database_url):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, runs in (("root", "*"), ("a", "team-a/*"), ("b", "team-b/*")):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), runs, Budget(), 1))
    await store.close()
    async with service(database_url=database_url) as http:
        yield http


async def score(http, headers, run, **changes):
    answer = await http.post(
        "/score", json={"run": run, "samples": [SAMPLE | changes]}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


async def seen(http, key):
    """By whom the mark is seen."""
    answers = {
        name: await http.get("/marks", params={"key": key}, headers=headers)
        for name, headers in (("root", ROOT), ("a", A), ("b", B))
    }
    assert {answer.status_code for answer in answers.values()} <= {200, 404}
    return {name for name, answer in answers.items() if answer.status_code == 200}


async def test_a_mark_is_seen_by_who_paid_for_it_and_by_who_was_given_it(keyed):
    key = (await score(keyed, B, "team-b/1"))["key"]
    assert await seen(keyed, key) == {"root", "b"}
    details = []
    for each in (key, "STUDENT:000000000000:000000000000:python"):
        answer = await keyed.get("/marks", params={"key": each}, headers=A)
        details.append(answer.json()["detail"].replace(each, "KEY"))
    foreign, none = details
    assert foreign == none  # as if there were no such mark
    assert (await score(keyed, A, "team-a/1"))["source"] == "cache"
    assert await seen(keyed, key) == {"root", "a", "b"}


async def test_what_was_given_is_known_to_the_next_process(keyed, service, database_url):
    key = (await score(keyed, B, "team-b/1"))["key"]
    for _ in range(2):  # the second time costs no write, and changes nothing
        await score(keyed, A, "team-a/1")
    async with service(database_url=database_url) as other:
        assert await seen(other, key) == {"root", "a", "b"}


async def test_no_link_of_the_page_names_what_its_reader_may_not_see(keyed):
    results = [
        await score(keyed, B, "team-b/1", code=SAMPLE["code"] + f"# {number}\n")
        for number in range(14)
    ]
    mine = await score(keyed, A, "team-a/1", prompt="Write add(a, b) for us.")
    pages = {name: (await keyed.get("/", headers=key)).text for name, key in (("a", A), ("b", B))}
    hashes = [result["key"].split(":")[2] for result in results]
    assert not any(each in pages["a"] for each in hashes)
    assert "for us" in pages["a"]
    assert "for us" not in pages["b"]
    [cursor] = re.findall(r"before=([0-9]+-[0-9a-f]+)", pages["b"])[:1]
    assert int(cursor.partition("-")[2]) in range(1, 15)  # a number among those of its time
    older = (await keyed.get("/", params={"before": cursor}, headers=B)).text
    lists = [page.partition('<ol class="marks">')[2] for page in (pages["b"], older)]
    shown = [sum(f"samples/{row}" in listed for row in rows(results)) for listed in lists]
    assert shown == [12, 2]  # none twice, none left out
    assert mine["source"] == "teacher"


def rows(results):
    """The hex of each mark's row key begins with profile, task and code."""
    return ["".join([each["profile"], *each["key"].split(":")[1:3]]) for each in results]


async def test_runs_of_others_on_a_shared_mark_are_not_named(keyed):
    await score(keyed, B, "team-b/secret-run")
    await score(keyed, A, "team-a/1")
    page = (await keyed.get("/", headers=A)).text
    assert "team-a/1" in page
    assert "secret-run" not in page


async def test_figures_over_all_runs_are_for_keys_of_all_runs(keyed):
    await score(keyed, B, "team-b/1")
    mine, all_of_it = [(await keyed.get("/stats", headers=key)).json() for key in (A, ROOT)]
    assert (mine["cache"], mine["audits"]["counts"], mine["runs"]) == (None, [], {})
    assert all_of_it["cache"]["entries"] == 1
    assert "marks in the book" not in (await keyed.get("/", headers=A)).text


async def test_a_mark_that_any_key_has_asked_for_a_run_is_seen_by_the_key_of_that_run(keyed):
    key = (await score(keyed, B, "team-b/1"))["key"]
    assert (await score(keyed, ROOT, "team-a/1"))["source"] == "cache"
    assert await seen(keyed, key) == {"root", "a", "b"}


async def test_who_has_paid_sees_its_marks_after_its_ledger_lines_are_gone(keyed, database_url):
    key = (await score(keyed, B, "team-b/1"))["key"]
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM ledger_calls"))
    engine.dispose()
    assert await seen(keyed, key) == {"root", "b"}


async def test_a_call_that_failed_has_paid_for_no_mark(service, keyed, database_url):
    failing = RecordingTeacher()
    failing.error = TeacherError(ErrorCode.TEACHER_UNAVAILABLE, "down")
    async with service(by=failing, database_url=database_url) as http:
        assert (await score(http, A, "team-a/1"))["status"] == "unscored"
    key = (await score(keyed, B, "team-b/1"))["key"]
    assert await seen(keyed, key) == {"root", "b"}


async def test_a_key_is_told_how_many_of_its_own_marks_were_looked_at_and_since_when_it_counts(
    keyed, clock
):
    await score(keyed, B, "team-b/1")
    clock.now_ms += 86_400_000
    await score(keyed, A, "team-a/1", prompt="Write add(a, b) for us.")
    pages = {
        name: (await keyed.get("/?since=all", headers=key)).text
        for name, key in (("a", A), ("root", ROOT))
    }
    assert [re.findall(r"([0-9]+) marks? searched", pages[name]) for name in ("a", "root")] == [
        ["1"],
        ["2"],
    ]
    start = {
        name: re.search(r"since ([0-9-]+ [0-9:]+) UTC", page)[1] for name, page in pages.items()
    }
    assert start["a"] > start["root"]


async def test_what_two_replicas_have_paid_for_is_seen_by_both_their_runs(database_url):
    async with opened(database_url) as store:
        await keep(store, marked("code"), run="team-b/1")
        await keep(store, marked("code"), run="team-a/1")
        [paid] = (await store.page.latest(OWNER, 9, lambda record: True)).marks
    assert paid.runs == {"team-a/1", "team-b/1"}


async def test_own_marks_that_are_hit_again_take_no_room(keyed, database_url):
    for _ in range(2):
        await score(keyed, A, "team-a/1")
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    assert await _count(store) == 0
    await store.close()


async def test_what_was_given_goes_with_its_mark(keyed, database_url):
    await score(keyed, B, "team-b/1")
    await score(keyed, A, "team-a/1")
    store = Store(database_url, 1_000, RetentionPolicy(max_entries=0))
    store.open("00" * 8, {}, 1)
    assert await _count(store) == 1
    await store.maintenance.run_once(1)
    assert await _count(store) == 0
    await store.close()


async def test_what_went_and_is_given_again_is_written_again(database_url):
    store = Store(database_url, 1_000, RetentionPolicy(max_entries=0))
    store.open("00" * 8, {}, 1)
    await store.given.add([b"mark"], "team-a/1")
    await store._database.write(
        lambda connection: connection.execute(text("DELETE FROM given_marks"))
    )
    await store.given.add([b"mark"], "team-a/1")
    assert await _count(store) == 0  # it is remembered, until maintenance has it forgotten
    store.given.forget()
    await store.given.add([b"mark"], "team-a/1")
    assert await _count(store) == 1
    await store.close()


async def _count(store):
    return await store._database.read(
        lambda connection: connection.scalar(text("SELECT count(*) FROM given_marks"))
    )
