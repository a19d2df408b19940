"""Answers of servers that speak the Messages API almost: whatever is in one, its call is settled and nothing raises."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.scoring.rubric import load_rubric
from services.scoring.teachers.anthropic import AnthropicTeacher
from services.scoring.teachers.base import Failure, Group, Marked
from shared.contract import ErrorCode
from shared.settings import TeacherConfig
from tests.fakes import OpenPurse, asked
from tests.scripted import Script

GROUP = Group("g", "Write f.", "python", ("x = 1",))
COUNTS = {"input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 800}
JSON = {"Content-Type": "application/json"}
Made = Callable[..., AnthropicTeacher]


@pytest.fixture
async def made(script: Script) -> AsyncIterator[Made]:
    teachers: list[AnthropicTeacher] = []

    def make(**config: Any) -> AnthropicTeacher:
        settings = TeacherConfig(name="anthropic", base_url=script.url, **config)
        teachers.append(AnthropicTeacher(settings, load_rubric(), api_key="k"))
        return teachers[-1]

    yield make
    for teacher in teachers:
        await teacher.close()


def answer(**changed: Any) -> tuple[int, dict[str, str], str]:
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "1 80 70 60 50"}],
        "stop_reason": "end_turn",
        "usage": COUNTS,
    }
    return 200, JSON, json.dumps(message | changed)


@pytest.mark.parametrize(
    ("ttl", "lives", "equivalent"),
    [
        # 100 + 5 x 10, and 800 written at 1.25 for five minutes, at 2 for an hour
        ("5m", None, 1150),
        ("1h", None, 1750),
        ("5m", {}, 1150),
        ("1h", {}, 1750),
        ("5m", {"ephemeral_5m_input_tokens": 800}, 1150),
        ("1h", {"ephemeral_5m_input_tokens": 800, "ephemeral_1h_input_tokens": None}, 1150),
        ("5m", {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 300}, 1375),
        ("5m", {"ephemeral_1h_input_tokens": 9000}, 1750),  # never more than was written
        ("5m", {"ephemeral_1h_input_tokens": -1}, 1150),
        ("1h", "an hour", 1750),
    ],
)
async def test_the_life_of_what_was_written_may_be_left_out(
    made: Made, script: Script, ttl: str, lives: object, equivalent: float
) -> None:
    script.answers = [answer(usage=COUNTS | {"cache_creation": lives, "cache_read_input_tokens": None})]
    reply = await asked(made(cache_ttl=ttl), GROUP)
    [outcome], [call] = reply.outcomes, reply.calls
    assert isinstance(outcome, Marked)
    assert not call.usage_unknown
    assert (call.input_tokens, call.output_tokens, call.cache_creation_input_tokens) == (100, 10, 800)
    assert call.billed_input_equivalent == pytest.approx(equivalent)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "free",
        [],
        dict.fromkeys(COUNTS),
        COUNTS | {"input_tokens": "100"},
        COUNTS | {"output_tokens": -1},
        COUNTS | {"output_tokens": 10**400},
    ],
)
async def test_a_bill_that_cannot_be_read_is_booked_at_its_bound(made: Made, script: Script, usage: object) -> None:
    script.answers = [answer(usage=usage)]
    reply = await asked(made(), GROUP)
    [outcome], [call] = reply.outcomes, reply.calls
    assert isinstance(outcome, Marked)
    assert call.usage_unknown
    assert call.output_tokens > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"content": "1 80 70 60 50"},
        {"content": ["1 80 70 60 50"]},
        {"content": [{"type": "text", "text": None}]},
        {"content": {"text": "1 80 70 60 50"}},
        {"content": 1},
        {"stop_reason": ["end_turn"], "content": None},
    ],
)
async def test_a_text_that_cannot_be_read_is_unreadable_and_paid(
    made: Made, script: Script, changed: dict[str, object]
) -> None:
    script.answers = [answer(**changed)] * 2
    reply = await asked(made(), GROUP)
    [outcome] = reply.outcomes
    assert isinstance(outcome, Failure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert [call.billed_input_equivalent for call in reply.calls] == pytest.approx([1150, 1150])


async def test_a_refusal_may_give_its_reason_in_any_form(made: Made, script: Script) -> None:
    script.answers = [answer(stop_reason="refusal", stop_details="cyber")]
    [outcome] = (await asked(made(), GROUP)).outcomes
    assert outcome == Failure(ErrorCode.TEACHER_REFUSED, "the teacher declined to mark this")


@pytest.mark.parametrize("text", ["\0{\0}\0", "[" * 100_000, "{"], ids=["no text", "too deep", "cut"])
async def test_a_body_that_is_no_json_is_unreadable_and_booked_at_its_bound(
    made: Made, script: Script, text: str
) -> None:
    script.answers = [(200, JSON, text)] * 2
    reply = await asked(made(), GROUP)
    [outcome] = reply.outcomes
    assert isinstance(outcome, Failure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert [call.usage_unknown for call in reply.calls] == [True, True]


async def test_a_call_that_nobody_foresaw_is_settled_at_its_bound(
    made: Made, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("a bug")

    monkeypatch.setattr("services.scoring.teachers.anthropic.tokens_of", broken)
    script.answers = [answer()]
    purse = OpenPurse()
    with pytest.raises(ArithmeticError, match="a bug"):
        await made().mark(GROUP, purse)
    assert not purse.reserved
    [call] = purse.bills
    assert call.usage_unknown
    assert call.failed
