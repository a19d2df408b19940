"""Replies held to a JSON schema: when that is asked for, with which schema, how it is read, and
servers without it.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from benchmarks.tokens_constrained import break_even
from benchmarks.tokens_measured import Row
from markbook.config.settings import TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.prompts.prompt import system_text
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.models import model_facts
from markbook.scoring.teachers.anthropic.pricing import Tokens
from markbook.scoring.teachers.anthropic.structured_output import (
    FORM,
    as_lines,
    is_constrained,
    reply_schema,
)
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.fakes import asked
from tests.unit.scoring.teachers.test_anthropic_replies import GROUP, JSON, answer, made

__all__ = ["made"]
OTHER = "Qwen/Qwen3-8B"
TWO = Group("g", "Write f.", "python", ("x = 1", "x = 2"))
MARKS = {"correctness": 0.8, "code_quality": 0.7, "efficiency": 0.6, "documentation": 0.5}


def reply(text: str) -> tuple[int, dict[str, str], str]:
    return answer(content=[{"type": "text", "text": text}])


def refused(message: str, status: int = 400) -> tuple[int, dict[str, str], str]:
    return (
        status,
        JSON,
        json.dumps(
            {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        ),
    )


def formats(script) -> list[Any]:
    return [json.loads(body).get("output_config", {}).get("format") for _, _, body in script.seen]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"marks":[[1,80,70,60,50],[2,1,2,3,4]]}', "1 80 70 60 50\n2 1 2 3 4"),
        ('  {"marks": [[1, 80, 70, 60, 50]]}\n', "1 80 70 60 50"),
        ('```json\n{"marks": [[1, 80, 70, 60, 50]]}\n```', "1 80 70 60 50"),
        ('{"marks":[{"line":[1,80,70],"reason":"no\\n2 100 100"}]}', "1 80 70 no 2 100 100"),
        ('{"marks":[]}', ""),
    ],
)
def test_json_is_read_as_its_lines(text, lines):
    assert as_lines(text) == lines


@pytest.mark.parametrize(
    "text",
    [
        "1 80 70 60 50",  # a server that ignores the schema
        '{"marks":[[1,80.5]]}',
        '{"marks":[[1,"80"]]}',
        '{"marks":[[1,true]]}',
        '{"marks":[[1,null]]}',
        '{"marks":[1,80]}',
        '{"marks":{"1":[80]}}',
        '{"marks":[[1,80]],"note":"2 90"}',
        '{"marks":[[1,80]],"marks":[[1,90]]}',
        '{"marks":[{"line":[1,80]}]}',
        '{"marks":[{"line":[1,80],"reason":5}]}',
        "[[1,80]]",
        '{"marks":[[1,80',
        '{"marks":[[1,NaN]]}',
        "{" * 100_000,
        '{"marks":[[' + "9" * 5000 + "]]}",
        "",
    ],
)
def test_what_is_no_such_json_is_left_to_the_reader_of_lines(text):
    assert as_lines(text) == text


def row(number: int) -> dict[str, Any]:
    mark = {"type": "integer", "minimum": 0, "maximum": 100}
    items = [{"const": number}, mark, mark, mark, mark]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": 5, "maxItems": 5}


def test_the_schema_for_a_server_that_takes_bounds():
    marks = {
        "type": "array",
        "prefixItems": [row(1), row(2)],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }
    assert reply_schema(2, 4, explain=False, bounded=True) == {
        "type": "object",
        "properties": {"marks": marks},
        "required": ["marks"],
        "additionalProperties": False,
    }


def test_the_providers_schema_is_the_same_for_every_group():
    found = reply_schema(3, 4, explain=False, bounded=False)
    assert found == reply_schema(8, 4, explain=False, bounded=False)
    assert found["properties"]["marks"] == {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}},
    }


def test_the_schema_with_reasons():
    [item] = reply_schema(1, 4, explain=True, bounded=True)["properties"]["marks"]["prefixItems"]
    assert item["required"] == ["line", "reason"]
    assert item["additionalProperties"] is False
    assert item["properties"] == {"line": row(1), "reason": {"type": "string"}}


@pytest.mark.parametrize(
    ("constrain", "model", "expected"),
    [
        ("auto", "claude-haiku-5-5", False),
        ("on", "claude-haiku-5-5", True),
        ("auto", OTHER, True),
        ("off", OTHER, False),
    ],
)
def test_auto_leaves_claude_its_lines(made, constrain, model, expected):
    config = TeacherConfig(name="anthropic", model=model, constrain=constrain)
    assert is_constrained(config, model_facts(model)) is expected
    teacher = made(model=model, constrain=constrain)
    request = teacher._requests.build(GROUP, [0])
    assert ("format" in request.get("output_config", {})) is expected
    plain = system_text(load_rubric(), explain=False)
    assert request["system"][0]["text"] == (plain + FORM if expected else plain)
    assert request["max_tokens"] == (16 + 5 * 5 if expected else 16 + 3 * 5)
    assert ("constrain" in teacher.identity()) is expected  # another prompt makes other marks


def test_the_share_at_which_the_benchmark_calls_both_equal_by_hand():
    # at Haiku's prices an output token counts 5: 1,000 + 500 in lines, 1,100 + 600 under a schema,
    # 4,000 + 1,000 alone
    lines, schema, alone = (
        Row(name, 10, 5, Tokens(sent, out), floor=1)
        for name, sent, out in (("lines", 1000, 100), ("schema", 1100, 120), ("alone", 4000, 200))
    )
    assert break_even(lines, alone, schema) == pytest.approx(200 / 5000)


async def test_a_constrained_reply_gives_its_marks(made, script):
    script.answers = [reply('{"marks":[[2,40,30,20,10],[1,80,70,60,50]]}')]
    first, second = (await asked(made(model=OTHER, shuffle_group=False), TWO)).outcomes
    assert isinstance(first, Judgment)
    assert isinstance(second, Judgment)
    assert first.criteria == MARKS
    assert second.criteria["documentation"] == 0.1
    [sent] = formats(script)
    assert sent == {
        "type": "json_schema",
        "schema": reply_schema(2, 4, explain=False, bounded=True),
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"marks":[[1,101,70,60,50]]}',
        '{"marks":[[1,-1,70,60,50]]}',
        '{"marks":[[2,80,70,60,50]]}',
        '{"marks":[[1,80,70,60]]}',
        '{"marks":[[1,80,70,60,50],[1,80,70,60,50]]}',
        '{"marks":[]}',
    ],
)
async def test_what_the_schema_cannot_exclude_is_no_mark(made, script, text):
    script.answers = [reply(text)] * 2
    found = await asked(made(model=OTHER), GROUP)
    [outcome] = found.outcomes
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert len(found.calls) == 2  # asked again alone


async def test_a_reply_that_is_cut_off_is_no_mark(made, script):
    cut = answer(
        content=[{"type": "text", "text": '{"marks":[[1,80,70,60,5'}], stop_reason="max_tokens"
    )
    script.answers = [cut] * 2
    [outcome] = (await asked(made(model=OTHER), GROUP)).outcomes
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.REPLY_TRUNCATED


async def test_a_server_that_refuses_the_schema_is_asked_without_from_then_on(made, script, caplog):
    caplog.set_level(logging.WARNING)
    script.answers = [
        refused("output_config.format is not supported"),
        *[reply('{"marks":[[1,80,70,60,50]]}')] * 2,
    ]
    teacher = made(model=OTHER)
    for _ in range(2):
        [outcome] = (await asked(teacher, GROUP)).outcomes
        assert isinstance(outcome, Judgment)
        assert outcome.criteria == MARKS
    assert [form is not None for form in formats(script)] == [True, False, False]
    assert [record.message for record in caplog.records] == [
        "the teacher's server takes no schema of its replies (teacher.constrain): "
        "the teacher returned 400 invalid_request_error: output_config.format is not supported"
    ]


@pytest.mark.parametrize(
    ("constrain", "message"),
    [("on", "output_config.format is not supported"), ("auto", "no such model")],
)
async def test_other_refusals_and_those_of_on_are_final(made, script, constrain, message):
    script.answers = [refused(message)]
    [outcome] = (await asked(made(model=OTHER, constrain=constrain), GROUP)).outcomes
    assert isinstance(outcome, ScoringFailure)
    assert outcome.code is ErrorCode.TEACHER_REJECTED
    assert len(script.seen) == 1


async def test_a_server_that_ignores_the_schema_may_send_lines(made, script):
    script.answers = [reply("1 80 70 60 50")]
    [outcome] = (await asked(made(model=OTHER), GROUP)).outcomes
    assert isinstance(outcome, Judgment)
    assert outcome.criteria == MARKS


@pytest.mark.parametrize(
    ("constrain", "model", "is_sent"), [("auto", OTHER, False), ("on", OTHER, True)]
)
async def test_a_batch_has_a_schema_only_where_it_is_required(made, constrain, model, is_sent):
    """A server that refuses it would refuse every request of the batch, and calls learn of that
    one by one.
    """
    teacher = made(model=model, constrain=constrain, base_url_has_batches=True)
    params = teacher.batches().build(TWO).params
    assert ("format" in params.get("output_config", {})) is is_sent
    assert FORM in params["system"][0]["text"]  # the form is asked for all the same
