"""Answers of servers that speak the Messages API almost: whatever is in one, its call is settled
and nothing raises.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from markbook.config.loading import ConfigError
from markbook.config.settings import TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.anthropic.timing import Timing
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import OpenLimiter, asked
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
        teachers.append(
            AnthropicTeacher(settings, load_rubric(), api_key="k", timing=Timing(sleep=_no_pause))
        )
        return teachers[-1]

    yield make
    for teacher in teachers:
        await teacher.close()


async def _no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


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
    script.answers = [
        answer(usage=COUNTS | {"cache_creation": lives, "cache_read_input_tokens": None})
    ]
    reply = await asked(made(cache_ttl=ttl), GROUP)
    [outcome], [call] = reply.outcomes, reply.calls
    assert isinstance(outcome, Judgment)
    assert not call.usage_unknown
    assert (call.input_tokens, call.output_tokens, call.cache_creation_input_tokens) == (
        100,
        10,
        800,
    )
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
async def test_a_bill_that_cannot_be_read_is_booked_at_its_bound(
    made: Made, script: Script, usage: object
) -> None:
    script.answers = [answer(usage=usage)]
    reply = await asked(made(), GROUP)
    [outcome], [call] = reply.outcomes, reply.calls
    assert isinstance(outcome, Judgment)
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
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert [call.billed_input_equivalent for call in reply.calls] == pytest.approx([1150, 1150])


async def test_a_refusal_may_give_its_reason_in_any_form(made: Made, script: Script) -> None:
    script.answers = [answer(stop_reason="refusal", stop_details="cyber")]
    [outcome] = (await asked(made(), GROUP)).outcomes
    assert outcome == ScoringFailure(
        ErrorCode.TEACHER_REFUSED, "the teacher refused to score this sample"
    )


@pytest.mark.parametrize(
    "text", ["\0{\0}\0", "[" * 100_000, "{"], ids=["no text", "too deep", "cut"]
)
async def test_a_body_that_is_no_json_is_unreadable_and_booked_at_its_bound(
    made: Made, script: Script, text: str
) -> None:
    script.answers = [(200, JSON, text)] * 2
    reply = await asked(made(), GROUP)
    [outcome] = reply.outcomes
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert [call.usage_unknown for call in reply.calls] == [True, True]


async def test_a_call_that_nobody_foresaw_is_settled_at_its_bound(
    made: Made, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("a bug")

    monkeypatch.setattr("markbook.scoring.teachers.anthropic.teacher.count_tokens", broken)
    script.answers = [answer()]
    purse = OpenLimiter()
    with pytest.raises(ArithmeticError, match="a bug"):
        await made().mark(GROUP, purse)
    assert not purse.reserved
    [call] = purse.bills
    assert call.usage_unknown
    assert call.failed


async def test_a_number_of_thousands_of_digits_is_an_unreadable_answer_and_booked(
    made: Made, script: Script
) -> None:
    script.answers = [(200, JSON, '{"usage": {"input_tokens": ' + "9" * 9000 + "}}")] * 2
    reply = await asked(made(), GROUP)
    [outcome] = reply.outcomes
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert {bill.usage_unknown for bill in reply.calls} == {True}


async def test_booleans_are_no_counts(made: Made, script: Script) -> None:
    script.answers.append(answer(usage={"input_tokens": True, "output_tokens": False}))
    reply = await asked(made(), GROUP)
    assert isinstance(reply.outcomes[0], Judgment)
    assert [bill.usage_unknown for bill in reply.calls] == [
        True
    ]  # at its bound: what it cost is not known


@pytest.mark.parametrize(
    "error",
    [
        *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError),
        *(httpx2.UnsupportedProtocol, httpx2.LocalProtocolError),
    ],
)
async def test_what_never_left_the_process_is_free(
    made: Made, error: type[httpx2.TransportError]
) -> None:
    assert await _booked(made(), error) == (False, 0)


@pytest.mark.parametrize(
    "error", [httpx2.WriteError, httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError]
)
async def test_what_may_have_left_is_booked_at_its_bound(
    made: Made, error: type[httpx2.TransportError]
) -> None:
    unknown, tokens = await _booked(made(), error)
    assert unknown
    assert tokens > 0


async def _booked(
    teacher: AnthropicTeacher, error: type[httpx2.TransportError]
) -> tuple[bool, int]:
    """The bill of a call that fails so, before one that is answered."""
    status, headers, body = answer()
    left = [error]

    async def serve(request: httpx2.Request) -> httpx2.Response:
        if left:
            raise left.pop()("no", request=request)
        return httpx2.Response(status, headers=headers, text=body)

    teacher._client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    failed, _ = (await asked(teacher, GROUP)).calls
    return failed.usage_unknown, failed.input_tokens


@pytest.mark.parametrize("key", ["sk\x00ant", "sk ant\u20ac", "caf\xe9", "a\nb", "a\x7fb"])
def test_a_key_that_no_header_can_carry_is_refused_at_start_and_not_quoted(key: str) -> None:
    for kind in ("api_key", "auth_token"):
        with pytest.raises(ConfigError, match="copy it again") as refused:
            AnthropicTeacher(TeacherConfig(name="anthropic"), load_rubric(), **{kind: key})
        assert key not in str(refused.value)


async def test_the_end_of_the_line_that_a_file_left_on_a_key_is_not_part_of_it(
    script: Script,
) -> None:
    teacher = AnthropicTeacher(
        TeacherConfig(name="anthropic", base_url=script.url), load_rubric(), api_key="sk-ant\n"
    )
    script.answers.append(answer())
    [outcome] = (await asked(teacher, GROUP)).outcomes
    await teacher.close()
    assert isinstance(outcome, Judgment)


@pytest.mark.parametrize(
    ("model", "configured", "room"),
    [
        ("claude-haiku-5-5", None, 0),
        ("claude-haiku-5-5", 500, 0),
        ("claude-opus-5-5", None, 2048),
        ("claude-opus-5-5", 500, 500),
        ("Qwen/Qwen3-8B", None, 0),
        ("Qwen/Qwen3-8B", 500, 500),
    ],
)
async def test_room_for_thinking_is_left_where_a_model_thinks(
    made: Made, model: str, configured: int | None, room: int
) -> None:
    request = made(model=model, thinking_tokens=configured)._requests.build(GROUP, [0])
    per_number = (
        5 if model.startswith("Qwen") else 3
    )  # of another server's model in JSON: teacher.constrain
    assert request["max_tokens"] == 16 + per_number * 5 + room


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 2291 tokens",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit",
        "the request exceeds the available context size",
    ],
)
async def test_a_request_that_does_not_fit_names_the_settings(
    made: Made, script: Script, message: str
) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    script.answers = [(400, JSON, json.dumps(error))]
    reply = await asked(made(), GROUP)
    [failure] = reply.outcomes
    assert isinstance(failure, ScoringFailure)
    assert failure.code is ErrorCode.TEACHER_REJECTED
    assert failure.detail.endswith(
        f"{message}; lower teacher.thinking_tokens, teacher.max_group_size or "
        "rlaif.prompt_context_chars"
    )


async def test_another_refusal_names_none(made: Made, script: Script) -> None:
    error = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "model: not found"},
    }
    script.answers = [(400, JSON, json.dumps(error))]
    [failure] = (await asked(made(), GROUP)).outcomes
    assert isinstance(failure, ScoringFailure)
    assert failure.detail == "the teacher returned 400 invalid_request_error: model: not found"


@pytest.mark.parametrize(
    ("model", "text", "hinted"),
    [
        ("Qwen/Qwen3-8B", "<think>the first sample", True),
        ("Qwen/Qwen3-8B", "", True),
        ("claude-haiku-5-5", "", False),
    ],
)
async def test_a_reply_cut_off_before_a_mark_says_that_the_model_may_think(
    made: Made, script: Script, model: str, text: str, hinted: bool
) -> None:
    cut_off = answer(content=[{"type": "text", "text": text}], stop_reason="max_tokens")
    script.answers = [cut_off, cut_off]  # the sample is requested once more
    [failure] = (await asked(made(model=model), GROUP)).outcomes
    assert isinstance(failure, ScoringFailure)
    assert failure.code is ErrorCode.REPLY_TRUNCATED
    assert ("set teacher.thinking_tokens" in failure.detail) is hinted
