"""The same faults from `llmock`, a test double that we did not write, which also judges how a
client behaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from markbook.config.settings import TeacherConfig
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.anthropic.timing import Timing
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import Reply, asked

GROUP = Group("g", "Write f.", "python", ("x = 1", "x = 2"))
REPLY = "1 80 70 60 50\n2 40 30 20 10"
MARKS = {"correctness": 0.8, "code_quality": 0.7, "efficiency": 0.6, "documentation": 0.5}


@pytest.fixture
async def teacher(llmock: Any) -> AsyncIterator[AnthropicTeacher]:
    """Real time here: llmock looks at when a client comes back."""
    config = TeacherConfig(
        base_url=llmock.base_url("anthropic"), attempt_timeout_s=2.0, shuffle_group=False
    )
    teacher = AnthropicTeacher(
        config, load_rubric(), api_key="k", timing=Timing(jitter=lambda: 0.0)
    )
    yield teacher
    await teacher.close()


def assert_marked(reply: Reply) -> None:
    first, second = reply.outcomes
    assert isinstance(first, Judgment)
    assert isinstance(second, Judgment)
    assert first.criteria == MARKS
    assert second.criteria["documentation"] == 0.1


async def test_a_reply_is_read_and_billed(llmock: Any, teacher: AnthropicTeacher) -> None:
    llmock.reply(REPLY)
    reply = await asked(teacher, GROUP)
    assert_marked(reply)
    [call] = reply.calls
    assert call.input_tokens > 500
    assert call.output_tokens > 0
    assert not call.usage_unknown


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 522, 529])
async def test_an_error_that_passes(llmock: Any, teacher: AnthropicTeacher, status: int) -> None:
    llmock.reply(REPLY, times=None)
    llmock.fail(status, times=2)
    reply = await asked(teacher, GROUP)
    assert_marked(reply)
    assert len(reply.calls) == 3
    llmock.assert_resilient(strict=True)


async def test_a_retry_after_is_kept(llmock: Any, teacher: AnthropicTeacher) -> None:
    llmock.reply(REPLY, times=None)
    llmock.rate_limit(times=2, retry_after=0.4)
    assert_marked(await asked(teacher, GROUP))
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501, 505])
async def test_an_error_that_stays_is_asked_once(
    llmock: Any, teacher: AnthropicTeacher, status: int
) -> None:
    llmock.reply(REPLY, times=None)
    llmock.fail(status, times=None)
    reply = await asked(teacher, GROUP)
    assert all(isinstance(outcome, ScoringFailure) for outcome in reply.outcomes)
    assert len(reply.calls) == 1
    llmock.assert_resilient(strict=True)


async def test_a_slow_answer_is_given_up_and_booked_at_its_bound(
    llmock: Any, teacher: AnthropicTeacher
) -> None:
    llmock.reply(REPLY, times=None)
    llmock.delay(4.0)
    reply = await asked(teacher, GROUP)
    assert_marked(reply)
    assert [call.usage_unknown for call in reply.calls] == [True, False]


async def test_prose_is_no_mark(llmock: Any, teacher: AnthropicTeacher) -> None:
    llmock.reply("Both samples look fine: 1 80 70 60 50", times=None)
    reply = await asked(teacher, GROUP)
    assert all(isinstance(outcome, ScoringFailure) for outcome in reply.outcomes)
    assert len(reply.calls) == 3


async def test_quotas_are_kept_to(llmock: Any, teacher: AnthropicTeacher) -> None:
    llmock.reply(REPLY, times=None)
    llmock.limits(rpm=600)
    for _ in range(5):
        assert_marked(await asked(teacher, GROUP))
    llmock.assert_resilient(strict=True)
