"""Audits: which rejected samples the teacher sees as well, once each, and what becomes of its
opinion.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.errors import StoreUnavailableError, TeacherError
from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.pipeline.audit_calls import is_chosen
from markbook.scoring.store import OWNER, NewAudit, Store
from markbook.scoring.store.audits import Audits
from markbook.scoring.types import ScoringFailure
from tests.fakes import true_score

TASK = "Write add(a, b) that returns the sum of two numbers."
ALL = {"rlaif": {"heuristic_audit_rate": 1.0}}
PROFILE = "00" * 8


def broken(name: str) -> str:
    return f"def {name}(a, b:\n    return a + b\n"


def sample(text: str, language: str = "python") -> dict[str, str]:
    return {"prompt": TASK, "language": language, "code": text}


async def score(http, *samples, run="demo"):
    answer = await http.post("/score", json={"run": run, "samples": list(samples)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def stats(http):
    return (await http.get("/stats")).json()


class TestTheChoice:
    def test_none_and_all(self) -> None:
        keys = [f"STUDENT:{n:012x}:{n:012x}:python" for n in range(1_000)]
        assert not any(is_chosen(key, 0.0) for key in keys)
        assert all(is_chosen(key, 1.0) for key in keys)

    def test_a_share_is_met_and_lies_within_the_larger_one(self) -> None:
        keys = [f"STUDENT:{n:012x}:{n:012x}:python" for n in range(10_000)]
        tenth = {key for key in keys if is_chosen(key, 0.1)}
        assert 900 <= len(tenth) <= 1_100  # 1,000 and three standard deviations
        assert tenth == {key for key in keys if is_chosen(key, 0.1)}
        assert tenth < {key for key in keys if is_chosen(key, 0.2)}

    def test_both_sides_of_its_edge(self) -> None:
        # the key's SHA-256 begins with cfa9dce1: 0x.cfa9dce131625676 = 0.8111856508...
        assert is_chosen("STUDENT:0:0:python", 0.811185652)
        assert not is_chosen("STUDENT:0:0:python", 0.811185650)


async def test_by_default_nobody_pays_for_what_is_rejected(service, teacher):
    async with service() as http:
        await score(http, sample(broken("add")))
        assert (await stats(http))["audits"] == {
            "rate": 0.0,
            "threshold": 0.3,
            "is_stub": False,
            "counts": [],
        }
    assert teacher.groups == []


async def test_an_audit_changes_no_mark_and_is_billed_and_counted_apart(
    service, teacher, database_url
):
    async with service(ALL, database_url=database_url) as http:
        answer = await score(
            http, sample(broken("add")), sample(""), sample("def add(a, b):\n    return a + b\n")
        )
        counted = await stats(http)
    first, second, third = answer["results"]
    assert [first["source"], second["source"], third["source"]] == [
        "heuristic",
        "heuristic",
        "teacher",
    ]
    assert (first["score"], first["criteria"], first["reasons"]) == (
        0.02,
        None,
        ["unclosed_bracket"],
    )
    assert (second["score"], second["criteria"], second["reasons"]) == (0.0, None, ["empty"])
    assert sorted(teacher.codes) == sorted(
        [broken("add"), "", "def add(a, b):\n    return a + b\n"]
    )
    assert answer["usage"]["teacher_calls"] == 2
    assert answer["usage"]["input_tokens"] == 300
    block = counted["runs"]["demo"]
    assert (block["teacher_calls"], block["api_tokens_sent"], block["samples"]) == (2, 300, 3)
    assert block["by_source"] == {
        "heuristic": 2,
        "tests": 0,
        "cache": 0,
        "coalesced": 0,
        "teacher": 1,
    }
    assert counted["budgets"]["run demo"]["spent_tokens"] == 330
    assert counted["cache"]["entries"] == 1
    expected = [("empty", ""), ("unclosed_bracket", broken("add"))]
    assert counted["audits"]["counts"] == [
        {
            "reason": reason,
            "language": "python",
            "audited": 1,
            "at_or_above_threshold": int(true_score(code) >= 0.3),
            "mean_score": pytest.approx(true_score(code)),
        }
        for reason, code in expected
    ]


async def test_a_sample_is_audited_once_whoever_sends_it_and_never_served_the_opinion(
    service, teacher, database_url
):
    async with service(ALL, database_url=database_url) as http:
        await score(http, sample(broken("add")), sample(broken("add")))
        await score(http, sample(broken("add")), run="other")
    async with service(ALL, database_url=database_url) as http:  # another replica
        again = await score(http, sample(broken("add")))
        [count] = (await stats(http))["audits"]["counts"]
    assert (again["results"][0]["source"], again["results"][0]["score"]) == ("heuristic", 0.02)
    assert teacher.codes == [broken("add")]
    assert count["audited"] == 1


async def test_replicas_at_the_same_time_ask_once(service, teacher, database_url):
    teacher.gate = asyncio.Event()
    async with (
        service(ALL, database_url=database_url) as one,
        service(ALL, database_url=database_url) as two,
    ):
        first = asyncio.create_task(score(one, sample(broken("add"))))
        await teacher.asked.wait()
        second = await score(two, sample(broken("add")))  # and does not wait for the other's audit
        same = await score(one, sample(broken("add")))
        teacher.gate.set()
        answers = [await first, second, same]
    assert [answer["results"][0]["source"] for answer in answers] == ["heuristic"] * 3
    assert len(teacher.groups) == 1


async def test_a_request_whose_time_is_up_has_its_marks_and_its_audits_go_on(service, teacher):
    teacher.gate = asyncio.Event()
    async with service(ALL) as http:
        body = {"run": "demo", "timeout_s": 1.0, "samples": [sample(broken("add"))]}
        answer = (await http.post("/score", json=body)).json()
        await teacher.asked.wait()
        before = (await stats(http))["audits"]["counts"]
        teacher.gate.set()
    async with service(ALL) as http:  # closing waited for the call
        after = (await stats(http))["audits"]["counts"]
    assert (answer["results"][0]["source"], answer["results"][0]["score"]) == ("heuristic", 0.02)
    assert before == []
    assert [count["audited"] for count in after] == [1]


async def test_a_failed_audit_is_no_mark_and_is_tried_again(service, teacher):
    teacher.failures[broken("one")] = ScoringFailure(ErrorCode.REPLY_UNREADABLE, "why")
    batch = [sample(broken("one")), sample(broken("two"))]
    async with service(ALL) as http:
        answer = await score(http, *batch)
        [count] = (await stats(http))["audits"]["counts"]
        teacher.failures.clear()
        await score(http, *batch)
        [later] = (await stats(http))["audits"]["counts"]
    assert [result["score"] for result in answer["results"]] == [0.02, 0.02]
    assert (count["audited"], count["mean_score"]) == (1, pytest.approx(true_score(broken("two"))))
    assert teacher.codes == [broken("one"), broken("two"), broken("one")]
    both = (true_score(broken("one")) + true_score(broken("two"))) / 2
    assert (later["audited"], later["mean_score"]) == (2, pytest.approx(both))


@pytest.mark.parametrize("failure", list(ErrorCode))
async def test_a_teacher_that_is_away_changes_no_mark(service, teacher, failure):
    teacher.error = TeacherError(failure, "down")
    async with service(ALL) as http:
        answer = await score(http, sample(broken("add")))
        assert (await stats(http))["audits"]["counts"] == []
    assert (answer["results"][0]["status"], answer["results"][0]["score"]) == ("scored", 0.02)


@pytest.mark.parametrize("method", ["acquire", "record"])
async def test_a_store_that_cannot_keep_audits_changes_no_mark(
    service, teacher, monkeypatch, method
):
    async def away(*_args):
        raise StoreUnavailableError("the database cannot be used")

    async with service(ALL) as http:
        with monkeypatch.context() as patch:
            patch.setattr(Audits, method, away)
            answer = await score(http, sample(broken("add")))
    assert (answer["results"][0]["status"], answer["results"][0]["score"]) == ("scored", 0.02)
    assert len(teacher.groups) == (method == "record")


async def test_budgets_hold_for_audits(service, teacher):
    async with service(
        ALL | {"budgets": {"per_run": {"tokens": 109}}}
    ) as http:  # one sample is bound at 110
        answer = await score(http, sample(broken("add")))
        counted = await stats(http)
    assert answer["results"][0]["score"] == 0.02
    assert answer["usage"]["teacher_calls"] == 0
    assert counted["audits"]["counts"] == []
    assert counted["totals"]["unscored"] == 0


async def test_without_the_tier_there_is_nothing_to_audit_and_no_audit_is_served(
    service, teacher, sqlite_url
):
    async with service(ALL) as http:
        await score(http, sample(broken("add")))
    async with service(
        {"rlaif": {"heuristic_audit_rate": 1.0, "use_tiered_scoring": False}}
    ) as http:
        answer = await score(http, sample(broken("add")))
    assert answer["results"][0]["source"] == "teacher"
    assert teacher.codes == [broken("add")] * 2


async def test_another_teachers_opinion_is_not_counted_with_this_ones_and_a_stand_in_says_so(
    service, teacher
):
    async with service(ALL) as http:
        await score(http, sample(broken("add")))
    teacher.model, teacher.is_stub = "recording-2", True
    async with service(ALL) as http:
        assert (await stats(http))["audits"]["counts"] == []
        await score(http, sample(broken("add")))
        counted = await stats(http)
    assert counted["audits"]["is_stub"] is True
    assert [count["audited"] for count in counted["audits"]["counts"]] == [1]


async def test_languages_without_a_parser_are_counted_together(service, teacher, database_url):
    async with service(ALL, database_url=database_url) as http:
        await score(http, sample("", "haskell"), sample(" ", "cobol"), sample("", "c++"))
        counts = (await stats(http))["audits"]["counts"]
    assert [(count["reason"], count["language"], count["audited"]) for count in counts] == [
        ("empty", "cpp", 1),
        ("empty", "other", 1),
        ("whitespace", "other", 1),
    ]


class TestTheTable:
    @pytest.fixture
    async def store(self, database_url: str) -> AsyncIterator[Store]:
        opened = Store(database_url, lease_ms=1_000)
        opened.open(PROFILE, {"teacher": "x"}, 1)
        yield opened
        await opened.close()

    def audit(self, code: str, run: str = "run-a", reason: str = "syntax_error") -> NewAudit:
        return NewAudit(fingerprint(PROFILE, TASK, code, "python"), run, "python", reason, 0.02)

    async def test_a_call_whose_asker_died_may_be_made_again(self, store):
        audit = self.audit("x")
        digest = audit.fingerprint.digest
        assert await store.audits.acquire([audit], 1_000, stale_ms=500) == {digest}
        assert await store.audits.acquire([audit], 1_500, stale_ms=500) == frozenset()
        assert await store.audits.acquire([audit], 1_501, stale_ms=500) == {digest}
        await store.audits.record({digest: ({"correctness": 0.5}, 0.5)}, [], 1_600)
        assert await store.audits.acquire([audit], 9_000, stale_ms=500) == frozenset()

    async def test_what_failed_may_be_asked_for_at_once_and_the_first_opinion_stays(self, store):
        one, two = self.audit("one"), self.audit("two")
        digests = [audit.fingerprint.digest for audit in (one, two)]
        await store.audits.acquire([one, two], 1_000, stale_ms=500)
        await store.audits.record({digests[0]: ({"correctness": 0.5}, 0.5)}, [digests[1]], 1_100)
        assert await store.audits.acquire([one, two], 1_200, stale_ms=500) == {digests[1]}
        await store.audits.record({digests[0]: ({"correctness": 1.0}, 1.0)}, digests, 1_300)
        [total] = await store.audits.sums(OWNER, PROFILE, 0.3)
        assert (total.audited, total.mean_score) == (1, 0.5)

    @pytest.mark.parametrize(("threshold", "reached"), [(0.3, 2), (0.300001, 1), (0.9, 0)])
    async def test_the_threshold_counts_as_reached(self, store, threshold, reached):
        audits = [self.audit(str(n)) for n in range(3)]
        await store.audits.acquire(audits, 1_000, stale_ms=500)
        scores = zip(audits, (0.1, 0.3, 0.5), strict=True)
        await store.audits.record(
            {audit.fingerprint.digest: ({}, score) for audit, score in scores}, [], 1_100
        )
        [total] = await store.audits.sums(OWNER, PROFILE, threshold)
        assert (total.audited, total.at_or_above_threshold) == (3, reached)
        assert total.mean_score == pytest.approx(0.3)

    async def test_by_reason_and_only_of_one_profile(self, store):
        other = NewAudit(fingerprint("11" * 8, TASK, "x", "python"), "run-a", "python", "stub", 0.0)
        audits = [
            self.audit("x", reason="stub"),
            self.audit("y", reason="empty"),
            self.audit("z", reason="stub"),
            other,
        ]
        await store.audits.acquire(audits, 1_000, stale_ms=500)
        await store.audits.record(
            {audit.fingerprint.digest: ({}, 0.5) for audit in audits}, [], 1_100
        )
        assert [
            (each.reason, each.audited) for each in await store.audits.sums(OWNER, PROFILE, 0.3)
        ] == [
            ("empty", 1),
            ("stub", 2),
        ]

    async def test_two_who_want_the_same_ones_share_them(self, store, database_url):
        other = Store(database_url, lease_ms=1_000)
        audits = [self.audit(str(n)) for n in range(40)]
        taken = await asyncio.gather(
            *(
                who.audits.acquire(some, 1_000, 500)
                for who in (store, other)
                for some in (audits, audits[::-1])
            )
        )
        await other.close()
        assert sorted(digest for some in taken for digest in some) == sorted(
            a.fingerprint.digest for a in audits
        )
