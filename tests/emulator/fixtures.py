"""Fixtures: one emulator for the session, as new for each test, and a teacher on it whose
waiting takes no time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from markbook.config.settings import TeacherConfig
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.anthropic.timing import Timing
from tests.emulator import tokens
from tests.emulator.server import Emulator


class SkippingTime:
    """Monotonic seconds, in which a sleep is over at once. `slept` has the length of each."""

    def __init__(self) -> None:
        self.skipped_s = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return time.monotonic() + self.skipped_s

    def wall(self) -> float:
        return time.time() + self.skipped_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.skipped_s += seconds
        await asyncio.sleep(0)


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.time = lambda: 0.0
        yield emulator


@pytest.fixture
def emulator(emulator_process: Emulator) -> Emulator:
    """The Messages API, as new, its clock stopped, tokens estimated (exact ones take ten times
    longer).
    """
    emulator_process.settle()
    emulator_process.skipped_s = 0.0
    emulator_process.clear(count=tokens.estimate, slow_s=60.0)
    return emulator_process


@pytest.fixture
def passing_time() -> SkippingTime:
    return SkippingTime()


TeacherFactory = Callable[..., AnthropicTeacher]


@pytest.fixture
async def claude(emulator: Emulator, passing_time: SkippingTime) -> AsyncIterator[TeacherFactory]:
    """`claude(timeout_s=…, rubric=…, …)`: a teacher on the emulator, with keys of the
    configuration.
    """
    made: list[AnthropicTeacher] = []

    def make(
        rubric: Rubric | None = None, *, rubric_in_system_prompt: bool = True, **config: Any
    ) -> AnthropicTeacher:
        settings = TeacherConfig(**{"name": "anthropic", "base_url": emulator.url, **config})
        teacher = AnthropicTeacher(
            settings,
            rubric or load_rubric(),
            api_key="test-key",
            rubric_in_system_prompt=rubric_in_system_prompt,
            timing=Timing(
                passing_time.clock, passing_time.wall, passing_time.sleep, jitter=lambda: 0.5
            ),
        )
        made.append(teacher)
        return teacher

    yield make
    for teacher in made:
        await teacher.close()
