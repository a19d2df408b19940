"""`markbook judge`, interrupted: what the teacher is working on is paid for, so its marks are
stored.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from markbook.config.settings import Config
from markbook.contract import Counters, Source
from markbook.scoring.api.stats import sum_counters
from markbook.scoring.judging import marking
from markbook.scoring.judging.labelled import LabelledSample
from markbook.scoring.store import OWNER, Store
from tests.fakes import RecordingTeacher

SAMPLES = [
    LabelledSample(prompt="Write add(a, b).", language="text", code="one", passed=True),
    LabelledSample(prompt="Write add(a, b).", language="text", code="two", passed=False),
]


class AnswersAtStop(RecordingTeacher):
    """Answers once the service stops, as a call does that is in progress then."""

    def stop(self) -> None:
        assert self.gate is not None
        self.gate.set()


def test_a_call_in_progress_at_ctrl_c_is_stored_and_not_paid_for_again(database_url, monkeypatch):
    teacher = AnswersAtStop()
    monkeypatch.setattr(marking, "make_teacher", lambda *_: teacher)
    config = Config.model_validate({"store": {"database_url": database_url}})

    async def interrupted() -> None:
        teacher.gate = asyncio.Event()
        work = marking.mark_samples(
            config, SAMPLES, [0, 0], run="judge", repeat=0, on_marked=lambda _: None
        )
        task = asyncio.create_task(work)
        await teacher.asked.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def counted() -> Counters:
        store = Store(database_url, 1_000)
        totals, _ = sum_counters(await store.ledger.sums(OWNER))
        await store.close()
        return totals

    asyncio.run(interrupted())
    assert asyncio.run(marking.find_missing(config, SAMPLES, 0)) == []
    totals = asyncio.run(counted())
    assert (totals.samples, totals.by_source[Source.TEACHER]) == (2, 2)
    assert (totals.teacher_calls, totals.usage_unknown_calls, totals.api_tokens_sent) == (1, 0, 200)
