"""Samples of batches in the tiers before the teacher: sources as of calls, tests, agreement, the
list of samples.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from markbook.scoring import app
from markbook.scoring.execution import TestResult, TestRunner, Verdict
from tests.integration.batching import replica, samples
from tests.unit.scoring.dashboard.test_samples_page import links, page
from tests.unit.scoring.pipeline.test_tests_tier import BROKEN, RIGHT, WRONG, sample

KINDS = [sample(RIGHT), sample(WRONG), sample(BROKEN), *samples(1, 1), sample("def add(a, b", [])]
"""Passes its tests, fails one, does not parse, has no tests, is neither."""


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")


class WrongSandbox:
    """Every test fails at once.

    `most_waiting`: samples in the runner's queue meanwhile, at most.
    """

    name = "fake"

    def __init__(self):
        self.runner: TestRunner | None = None
        self.ran = self.most_waiting = 0

    def run(self, _code, tests, _setup, _limits):
        self.ran += 1
        self.most_waiting = max(self.most_waiting, self.runner._queue.waiting)
        return [TestResult(Verdict.FAILED, "no") for _ in tests]

    def close(self):
        self.runner = None


@pytest.mark.parametrize("policy", ["gate", "advise", "only"])
async def test_the_tiers_decide_for_batches_what_they_decide_for_calls(
    sqlite_url, emulator, tmp_path, policy
):
    found = []
    for is_batch, url in ((True, sqlite_url), (False, f"sqlite:///{tmp_path / 'calls.db'}")):
        async with replica(url, emulator, rlaif={"tests_policy": policy}) as service:
            for _ in range(2):  # the second time from what is stored
                if is_batch:
                    answer = await service.ended(await service.submit(KINDS))
                else:
                    body = {"run": "r", "samples": KINDS}
                    answer = (await service.http.post("/score", json=body)).json()
                kept = ("status", "source", "score", "criteria", "reasons", "tests", "error", "key")
                found.append(
                    [{name: each.get(name) for name in kept} for each in answer["results"]]
                )
    assert found[:2] == found[2:]
    sources = [[each["source"] for each in results] for results in found[:2]]
    judged = {
        "gate": ["tests", "heuristic", "teacher"],
        "advise": ["teacher", "heuristic", "teacher"],
    }
    again = {"gate": ["tests", "heuristic", "cache"], "advise": ["cache", "heuristic", "cache"]}
    if policy == "only":
        assert sources == [["tests", "tests", "heuristic", None, "heuristic"]] * 2
    else:
        assert sources == [
            ["teacher", *judged[policy], "heuristic"],
            ["cache", *again[policy], "heuristic"],
        ]


async def test_what_tests_have_decided_goes_before_a_stored_mark(sqlite_url, emulator):
    asked = [sample(RIGHT), sample(WRONG)]
    async with replica(sqlite_url, emulator, rlaif={"tests_policy": "advise"}) as service:
        await service.ended(await service.submit(asked))  # both are marked by the teacher
    async with replica(sqlite_url, emulator) as service:
        by_batch = await service.ended(await service.submit(asked))
        by_call = (await service.http.post("/score", json={"run": "r", "samples": asked})).json()
    for answer in (by_batch, by_call):
        assert [each["source"] for each in answer["results"]] == ["cache", "tests"]


async def test_samples_of_a_batch_are_compared_with_their_tests_and_listed(database_url, emulator):
    async with replica(database_url, emulator) as service:
        batch = await service.ended(await service.submit(KINDS))
        counted = (await service.http.get("/stats")).json()["agreement"]["counts"]
        metrics = (await service.http.get("/metrics")).text
        listed = links(await page(service.http, "/samples"))
    sources = Counter(each["source"] for each in batch["results"])
    assert sources == {"teacher": 2, "tests": 1, "heuristic": 2}
    assert [(each["run"], each["passed"], each["failed"]) for each in counted] == [("r", 1, 0)]
    judged = re.findall(r"^markbook_teacher_agreement_samples_total\{.*\} (\S+)$", metrics, re.M)
    assert sum(map(float, judged)) == 1
    assert len(listed) == len(set(listed)) == 5


@pytest.mark.parametrize(
    ("many", "queued"), [(1_000, 100), pytest.param(10_000, 4096, marks=pytest.mark.long)]
)
async def test_tests_of_a_large_batch_take_turns_in_the_queue_of_the_sandboxes(
    sqlite_url, emulator, monkeypatch, many, queued
):
    sandbox = WrongSandbox()

    def runner(config):
        sandbox.runner = TestRunner(sandbox, max_running=1, max_waiting=config.max_queued_samples)
        return sandbox.runner

    monkeypatch.setattr(app, "_runner", runner)
    asked = [
        {**samples(1, 1)[0], "code": f"x = {number}\n", "tests": ["assert x"]}
        for number in range(many)
    ]
    async with replica(sqlite_url, emulator, execution={"max_queued_samples": queued}) as service:
        batch = await service.ended(await service.submit(asked))
    assert Counter(each["source"] for each in batch["results"]) == {"tests": many}
    assert sandbox.ran == many
    assert 0 < sandbox.most_waiting < 64
    assert emulator.log == []
