"""How `markbook judge` sends its samples: calls that would only queue are not made yet, and
usage is added up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from markbook.config.settings import Config
from markbook.contract import RequestUsage, Scored
from markbook.scoring.judging import marking
from markbook.scoring.judging.labelled import LabelledSample
from markbook.scoring.teachers.protocol import BudgetLimiter, Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import RecordingTeacher


@pytest.mark.parametrize(
    ("tasks", "most", "expected"),
    [
        ([0, 0, 0], 3, [[0, 1, 2]]),
        ([0, 0, 0, 0], 3, [[0, 1, 2], [3]]),
        ([0, 1, 0, 1, 0], 2, [[0, 2], [4], [1, 3]]),
        ([0], 8, [[0]]),
    ],
)
def test_requests_have_samples_of_one_task_and_no_more_than_a_group(tasks, most, expected):
    assert marking.split_by_task(tasks, most) == expected


@pytest.mark.parametrize(
    ("prompts", "tasks", "most", "expected"),
    [
        ("aabb", [0, 0, 1, 1], 9, [[0, 1, 2, 3]]),
        ("aabb", [0, 0, 1, 1], 3, [[0, 1, 2], [3]]),
        (
            "aaba",
            [0, 1, 2, 0],
            9,
            [[0, 2, 3], [1]],
        ),  # two groups of a, which are not to be shown together
        ("abaca", [0, 1, 2, 3, 4], 9, [[0, 1, 3], [2], [4]]),
    ],
)
def test_a_batch_has_one_group_of_a_task(prompts, tasks, most, expected):
    samples = [
        LabelledSample(prompt=prompt, language="python", code="x", passed=True)
        for prompt in prompts
    ]
    assert marking.split_into_batches(samples, tasks, most) == expected


def test_usage_is_the_sum_and_a_cost_that_is_not_known_is_not_made_up():
    one = RequestUsage(
        teacher_calls=1,
        input_tokens=2,
        output_tokens=3,
        cache_read_input_tokens=4,
        cache_creation_input_tokens=5,
        cost_usd=0.5,
    )
    assert marking.add_usage([one, one]) == RequestUsage(
        teacher_calls=2,
        input_tokens=4,
        output_tokens=6,
        cache_read_input_tokens=8,
        cache_creation_input_tokens=10,
        cost_usd=1.0,
    )
    assert marking.add_usage([one, RequestUsage(cost_usd=None)]).cost_usd is None
    assert marking.add_usage([]) == RequestUsage()


class CrowdedTeacher(RecordingTeacher):
    """Notes how many groups are in it at a time; each leaves after the others have had a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most_inside = 0

    async def mark(
        self, group: Group, purse: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().mark(group, purse)
        finally:
            self.inside -= 1


def _mark(
    config: Config, samples: Sequence[LabelledSample], tasks: Sequence[int], seen: list[int]
) -> marking.Marking:
    return asyncio.run(
        marking.mark_samples(config, samples, tasks, run="judge", repeat=0, on_marked=seen.append)
    )


def test_a_task_of_many_samples_does_not_queue_in_the_teacher(database_url, monkeypatch):
    """40 samples in groups of 4 are 10 calls, 2 at a time: a call that waited in the teacher
    would lose its time.
    """
    teacher = CrowdedTeacher()
    monkeypatch.setattr(marking, "make_teacher", lambda *_: teacher)
    settings = {"max_group_size": 4, "max_concurrency": 2}
    config = Config.model_validate({"teacher": settings, "store": {"database_url": database_url}})
    samples = [
        LabelledSample(
            prompt="Write add(a, b).", language="text", code=f"code {at}", passed=at % 2 == 0
        )
        for at in range(41)
    ]
    seen: list[int] = []
    found = _mark(config, samples, [0] * 40 + [1], seen)
    assert 1 <= teacher.most_inside <= 2
    assert sorted(len(group.codes) for group in teacher.groups) == [1] + [4] * 10
    assert sorted(seen) == [1] + [4] * 10
    assert all(isinstance(each, Scored) for each in found.results)
    # 100 tokens in and 10 out per sample, 1e-6 and 5e-6 dollars each
    assert [
        (each.teacher_calls, each.input_tokens, each.output_tokens) for each in found.usage
    ] == [
        (10, 4000, 400),
        (1, 100, 10),
    ]
    assert found.usage[0].cost_usd == pytest.approx(40 * 150e-6)
