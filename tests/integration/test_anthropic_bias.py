"""Judges with known faults: what shuffling does about places, and how far marks drift with their
companions.
"""

from __future__ import annotations

import asyncio
import statistics

import pytest

from markbook.scoring.prompts.prompt import shuffled_order
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment
from tests.emulator import judges
from tests.emulator.fixtures import TeacherFactory
from tests.emulator.server import Emulator
from tests.fakes import asked
from tests.integration.test_anthropic_teacher import true_marks

SIZE = 4
SAMPLES = 1000


async def errors(teacher: AnthropicTeacher) -> list[list[float]]:
    """For each group, how much each of its samples was marked above the steady judge's mark."""
    score = load_rubric().score
    groups = [
        Group(f"g{start}", "Write f.", "python", tuple(f"x = {start + at}" for at in range(SIZE)))
        for start in range(0, SAMPLES, SIZE)
    ]
    found = []
    for group, reply in zip(
        groups, await asyncio.gather(*(asked(teacher, group) for group in groups)), strict=True
    ):
        marks = [outcome.criteria for outcome in reply.outcomes if isinstance(outcome, Judgment)]
        found.append(
            [score(m) - score(true_marks(code)) for m, code in zip(marks, group.codes, strict=True)]
        )
    return found


def slope(columns: list[list[float]]) -> tuple[float, float]:
    """Mean difference between the first and the last column, and its standard error."""
    differences = [row[0] - row[-1] for row in columns]
    return statistics.fmean(differences), statistics.stdev(differences) / len(differences) ** 0.5


async def test_shuffling_takes_the_place_in_the_request_out_of_the_mark(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.judge = judges.position_biased
    shuffled = await errors(claude())
    mean, error = slope(shuffled)
    assert abs(mean) < 3 * error
    assert error < 0.01

    presented = [
        [row[index] for index in shuffled_order(f"g{SIZE * number}", SIZE, shuffle=True)]
        for number, row in enumerate(shuffled)
    ]
    mean, error = slope(presented)
    assert mean > 10 * error

    mean, error = slope(await errors(claude(shuffle_group=False)))
    assert mean > 10 * error


@pytest.mark.parametrize(
    ("judge", "drifts"), [(judges.steady, False), (judges.companion_leaning, True)]
)
async def test_the_drift_of_a_mark_between_groups_shows(
    claude: TeacherFactory, emulator: Emulator, judge: judges.Judge, drifts: bool
) -> None:
    emulator.settings.judge = judge
    teacher = claude()
    score = load_rubric().score
    marks = []
    for number in range(40):
        companions = tuple(f"y = {3 * number + at}" for at in range(3))
        reply = await asked(
            teacher, Group(f"g{number}", "Write f.", "python", ("x = 1", *companions))
        )
        assert isinstance(reply.outcomes[0], Judgment)
        marks.append(score(reply.outcomes[0].criteria))
    drift = statistics.pstdev(marks)
    assert (drift > 0.01) == drifts
    assert drift < 0.1
