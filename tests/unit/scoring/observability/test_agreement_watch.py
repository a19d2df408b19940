"""The alarm for runs in which the teacher disagrees with tests: windows, counts, both sides of
the limit, once each.
"""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from markbook.config.settings import Rlaif
from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.observability.agreement import WINDOW_MS, Agreement, AgreementWatch
from markbook.scoring.store import NewMark
from tests.unit.scoring.book import GROUP, NOW, PROFILE, opened

MINUTE = 60_000
OTHER_PROFILE = "11" * 8


class Watched:
    """A watch on a store. Judgments are written a minute after those before."""

    def __init__(self, store, **limits) -> None:
        self.store = store
        self.registry = CollectorRegistry()
        rlaif = Rlaif(**({"min_teacher_agreement": 0.6, "min_agreement_samples": 4} | limits))
        metrics = Agreement(self.registry)
        self.watch = AgreementWatch(rlaif, store, PROFILE, metrics)
        self.now_ms = NOW
        self._number = 0

    async def judge(
        self, run: str, *numbers: float, passed: bool = True, profile: str = PROFILE
    ) -> None:
        """Samples with these numbers for their correctness, in a minute of their own."""
        self.now_ms += MINUTE
        marks = []
        for number in numbers:
            self._number += 1
            name = fingerprint(profile, "task", str(self._number), "python")
            criteria = dict.fromkeys(
                ("correctness", "code_quality", "efficiency", "documentation"), number
            )
            marks.append(NewMark(name, criteria, [], 1, 1, passed=passed))
        await self.store.record_group(self.now_ms, GROUP, marks, {}, run=run)

    async def check(self) -> list[str]:
        """The runs that looking once has found below the limit, and that were not before."""
        before = self.watch.low
        await self.watch.check(self.now_ms)
        return [
            f"{run} {alarm.agreement:.3f}"
            for run, alarm in self.watch.low.items()
            if run not in before
        ]

    @property
    def low_runs(self) -> float | None:
        return self.registry.get_sample_value("markbook_teacher_agreement_low_runs")


async def test_an_alarm_is_raised_once_and_again_after_a_recovery(database_url, caplog):
    caplog.set_level(logging.INFO, "markbook")
    async with opened(database_url) as store:
        watched = Watched(store)
        await watched.judge("a", 0.9, 0.9, 0.1, 0.1)  # 2 of 4
        assert await watched.check() == ["a 0.500"]
        assert await watched.check() == []
        assert (watched.low_runs, list(watched.watch.low)) == (1.0, ["a"])
        await watched.judge("a", 0.9, 0.9, 0.9, 0.9)
        assert await watched.check() == []
        assert (watched.low_runs, list(watched.watch.low)) == (0.0, [])
        await watched.judge("a", 0.1, 0.1, 0.1, 0.9)
        assert await watched.check() == ["a 0.250"]
    assert [
        record.getMessage()
        for record in caplog.records
        if "agrees with tests" in record.getMessage()
    ] == [
        "run a: the teacher agrees with tests on 0.50, below rlaif.min_teacher_agreement (0.6): "
        "it calls 2 of 4 samples right that passed, and 0 of 0 wrong that failed",
        "run a: the teacher agrees with tests again: 1.00",
        "run a: the teacher agrees with tests on 0.25, below rlaif.min_teacher_agreement (0.6): "
        "it calls 1 of 4 samples right that passed, and 0 of 0 wrong that failed",
    ]


@pytest.mark.parametrize(("limit", "raised"), [(0.5, []), (0.51, ["a 0.500"]), (None, [])])
async def test_both_sides_of_the_limit(sqlite_url, limit, raised):
    async with opened(sqlite_url) as store:
        watched = Watched(store, min_teacher_agreement=limit)
        await watched.judge("a", 0.9, 0.9, 0.1, 0.1)
        assert await watched.check() == raised


async def test_a_kind_with_too_few_samples_is_left_out(sqlite_url):
    async with opened(sqlite_url) as store:
        watched = Watched(store)
        await watched.judge("a", 0.1, 0.1, 0.1)
        assert await watched.check() == []  # three say nothing
        await watched.judge("a", 0.9, 0.9, 0.9, 0.9)
        await watched.judge("a", 0.9, 0.9, 0.9, passed=False)
        assert await watched.check() == []  # nor do the three that failed, all of them called right
        await watched.judge("a", 0.9, passed=False)
        # passed: the newest minute has four of four; failed: both minutes are needed, none of four
        assert await watched.check() == ["a 0.500"]


async def test_only_the_newest_count(sqlite_url):
    async with opened(sqlite_url) as store:
        watched = Watched(store)
        await watched.judge("a", *[0.9] * 400)
        await watched.judge("a", 0.1, 0.1, 0.1, 0.9)
        assert await watched.check() == ["a 0.250"]


async def test_runs_profiles_and_days_are_kept_apart(sqlite_url):
    async with opened(sqlite_url) as store:
        watched = Watched(store)
        store.marks.register_profile(
            OTHER_PROFILE, ["correctness", "code_quality", "efficiency", "documentation"]
        )
        await watched.judge("a", *[0.1] * 4, profile=OTHER_PROFILE)  # another teacher's
        await watched.judge("b", *[0.9] * 4)
        assert await watched.check() == []
        await watched.judge("c", *[0.1] * 4)
        assert await watched.check() == ["c 0.000"]
        watched.now_ms += WINDOW_MS + MINUTE
        assert await watched.check() == []
        assert watched.low_runs == 0.0
