"""GET /marks: what the book has of one sample, by the key that its result carried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from markbook.contract import KeptMarks
from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.store import NewMark, Store
from tests.fakes import true_criteria, true_score

CODE = "def add(a, b):\n    return a + b\n"
TASK = "Write add(a, b)."


async def score(http, language: str = "python"):
    sample = {"prompt": TASK, "language": language, "code": f"```{language}\n{CODE}```"}
    answer = await http.post("/score", json={"samples": [sample]})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


@pytest.mark.parametrize("texts", [True, False])
async def test_a_mark_is_shown_with_its_group_and_its_texts(service, database_url, clock, texts):
    async with service({"store": {"store_samples": texts}}, database_url=database_url) as http:
        result = await score(http)
        answers = [
            await http.get("/marks", params={"key": result["key"]}),
            await http.get("/marks", params={"key": result["key"], "profile": result["profile"]}),
        ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    [mark] = KeptMarks.model_validate_json(answers[0].content).marks
    assert (mark.key, mark.profile, mark.language) == (result["key"], result["profile"], "python")
    assert mark.digest == fingerprint(result["profile"], TASK, CODE, "python").digest.hex()
    assert (mark.criteria, mark.reasons) == (true_criteria(CODE), [])
    assert mark.score == pytest.approx(true_score(CODE))
    assert (mark.group.position, mark.group.size) == (1, 1)
    assert 1_700_000_000 <= mark.created_at.timestamp() <= clock.now_ms / 1000
    assert (mark.task, mark.code) == ((TASK, CODE) if texts else (None, None))


async def test_all_marks_of_a_key_are_shown_and_no_other(service, database_url):
    async with service(database_url=database_url) as http:
        result = await score(http)
        await score(http, language="pythonic")
        name = fingerprint(result["profile"], TASK, CODE, "python")
        forced = replace(
            fingerprint(result["profile"], TASK, "other", "python"), code_hash=name.code_hash
        )
        store = Store(database_url, 1_000)
        store.open(result["profile"], {}, 1)
        await store.record_group(
            1, "ab" * 8, [NewMark(forced, true_criteria("other"), ["why"], 2, 3)], {}
        )
        await store.close()
        marks = (await http.get("/marks", params={"key": result["key"]})).json()["marks"]
    assert {mark["digest"] for mark in marks} == {name.digest.hex(), forced.digest.hex()}
    [other] = [mark for mark in marks if mark["reasons"]]
    assert (other["group"], other["task"]) == ({"id": "ab" * 8, "position": 2, "size": 3}, None)
    assert other["created_at"] == "1970-01-01T00:00:00.001000Z"


async def test_no_mark_is_a_404_that_says_so(service, database_url):
    async with service(database_url=database_url) as http:
        key = (await score(http))["key"]
        for params in ({"key": key.replace("python", "pytho")}, {"key": key, "profile": "0" * 16}):
            answer = await http.get("/marks", params=params)
            assert (answer.status_code, answer.json()["error"]) == (404, "mark_not_found")
            assert params["key"] in answer.json()["detail"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "key"),
        ({"key": "STUDENT:0123456789ab:python"}, "key"),
        ({"key": "STUDENT:0123456789ab:0123456789ab:"}, "key"),
        ({"key": "STUDENT:0123456789ab:0123456789ab:c", "profile": "xyz"}, "profile"),
    ],
)
async def test_what_is_no_key_names_the_field(service, params, field):
    async with service() as http:
        answer = await http.get("/marks", params=params)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_the_limits_of_the_book_stand_in_the_stats(service):
    async with service({"store": {"cache_max_entries": 7, "cache_max_age_days": 1.5}}) as http:
        await score(http)
        cache = (await http.get("/stats")).json()["cache"]
    assert (cache["entries"], cache["max_entries"], cache["max_age_days"]) == (1, 7, 1.5)
