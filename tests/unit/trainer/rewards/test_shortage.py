"""When marks stop: what is asked again, how long, and when there is no use in it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from markbook.config.settings import Rlaif
from markbook.contract import ErrorCode, ExtractedFrom, SampleError, Unscored
from markbook.trainer.errors import BudgetExceededError, ServiceTimeoutError
from markbook.trainer.rewards.unscored import marked_enough
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import scored

SAMPLES = [
    Sample(Task(0, "a task", "python", (1,)), (2,), text, truncated=False) for text in "abcd"
]


def unscored(code=ErrorCode.TEACHER_UNAVAILABLE, retry_after_s=None):
    return Unscored(
        error=SampleError(code=code, detail="why", retry_after_s=retry_after_s),
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )


class World:
    """Answers in turn, an attempt each; time passes only in pauses."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked, self.said, self.pauses = [], [], []
        self.now = 0.0

    def ask(self, place, samples, attempt):
        self.asked.append((place, attempt, "".join(sample.text for sample in samples)))
        future = Future()
        future.set_result([self.answers.pop(0) for _ in samples])
        return future

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def run(self, groups, **rlaif):
        options = Rlaif.model_validate(rlaif)
        return marked_enough(
            groups, self.ask, options, self.said.append, sleep=self.sleep, clock=lambda: self.now
        )


def groups(*rows):
    return [(SAMPLES[: len(row)], list(row)) for row in rows]


def test_up_to_the_share_nothing_happens():
    world = World()
    given = groups([scored(0.1), unscored()], [scored(0.2), unscored()])  # 2 of 4
    assert world.run(given, max_unscored_fraction=0.5) == given
    assert (world.asked, world.said, world.pauses) == ([], [], [])


def test_above_it_the_run_pauses_and_asks_for_the_missing_ones_alone():
    world = World(scored(0.5), unscored(), scored(0.7), scored(0.9))
    given = groups([scored(0.1), unscored(), unscored()], [scored(0.2)], [unscored()])
    got = world.run(given, max_unscored_fraction=0.2)
    # 3 of 5 are missing; 1 of 5 afterwards is no more than the share
    assert world.asked == [(0, 1, "bc"), (2, 1, "a")]
    assert [[result.score for result in results] for _, results in got] == [
        [0.1, 0.5, None],
        [0.2],
        [0.7],
    ]
    assert world.pauses == [5.0]
    assert world.said == [
        "3 of 5 samples have no mark, mostly teacher_unavailable: paused, retrying for up to 600 s",
        "scoring has recovered",
    ]


def test_pauses_grow_and_what_the_teacher_asks_for_is_kept_to():
    world = World(unscored(), unscored(retry_after_s=90.0), unscored(), scored(0.5))
    world.run(groups([unscored(retry_after_s=7.0)]))
    assert world.pauses == [7.0, 10.0, 90.0, 40.0]
    assert [attempt for _, attempt, _ in world.asked] == [1, 2, 3, 4]


def test_it_gives_up_when_the_time_is_over():
    world = World(*[unscored(ErrorCode.TEACHER_REFUSED)] * 9)
    with pytest.raises(
        ServiceTimeoutError,
        match=r"1 of 1 samples have no mark, mostly teacher_refused; gave up after .*\(12 s\)",
    ):
        world.run(groups([unscored(ErrorCode.TEACHER_REFUSED)]), service_wait_s=12.0)
    assert world.pauses == [5.0, 7.0]


def test_one_unpaid_sample_ends_it_at_once_however_many_are_marked():
    world = World()
    given = groups([scored(0.1)] * 3 + [unscored(ErrorCode.BUDGET_EXHAUSTED)])
    with pytest.raises(BudgetExceededError, match="the budget for marks is exhausted: why"):
        world.run(given)
    assert world.pauses == []


def test_a_budget_that_ends_during_the_pause_ends_it_too():
    world = World(unscored(ErrorCode.BUDGET_EXHAUSTED))
    with pytest.raises(BudgetExceededError):
        world.run(groups([unscored()]))
