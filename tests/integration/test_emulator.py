"""The emulator itself: as strict as the documentation, and a prompt cache that bills by its
rules.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.emulator import faults, judges, tokens
from tests.emulator.ratelimit import Bucket
from tests.emulator.server import Emulator

HEADERS = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
LONG = "A rule that all samples share. " * 100  # about 700 tokens
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


def body(**changes: Any) -> dict[str, Any]:
    message = "#123456 task, python\nadd\n#123456 1\nx = 1\n#123456 end: mark 1"
    request = {
        "model": "claude-haiku-5-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": message}],
        "thinking": {"type": "disabled"},
    }
    return {key: value for key, value in {**request, **changes}.items() if value is not None}


def post(
    emulator: Emulator, request: Any = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.post(
        f"{emulator.url}/v1/messages", json=request or body(), headers=headers or HEADERS
    )


def usage(response: httpx.Response) -> tuple[int, int, int]:
    billed = response.json()["usage"]
    return (
        billed["input_tokens"],
        billed["cache_creation_input_tokens"],
        billed["cache_read_input_tokens"],
    )


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"temperature": 0.0}, 400, "temperature"),
        ({"top_p": 1.0}, 400, "top_p"),
        ({"top_k": 1}, 400, "top_k"),
        ({"max_tokens": None}, 400, "max_tokens"),
        ({"max_tokens": "100"}, 400, "max_tokens"),
        ({"messages": []}, 400, "messages"),
        ({"rubric": "mine"}, 400, "rubric: Extra inputs"),
        ({"model": "claude-none"}, 404, "model: claude-none"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "1"}]},
            400,
            "prefill",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            400,
            "not supported for this model",
        ),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
            400,
            "cannot be disabled",
        ),
        ({"model": "claude-sonnet-5-5"}, 400, '"thinking.type.disabled" is not supported'),
        ({"model": "claude-opus-5-5"}, 400, '"thinking.type.disabled" is not supported'),
        ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}, 400, "effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, 400, "schema"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            400,
            "additionalProp",
        ),
        (
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 0}}
                }
            },
            400,
            "'minimum' is not supported",
        ),
        (
            {
                "system": [
                    {
                        "type": "text",
                        "text": "x",
                        "cache_control": {"type": "ephemeral", "ttl": "2h"},
                    }
                ]
            },
            400,
            "ttl",
        ),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            400,
            "maximum of 4",
        ),
    ],
)
def test_what_the_api_refuses(
    emulator: Emulator, changes: dict[str, Any], status: int, says: str
) -> None:
    response = post(emulator, body(**changes))
    assert response.status_code == status
    error = response.json()
    assert error["type"] == "error"
    assert says in error["error"]["message"]
    assert error["request_id"] == response.headers["request-id"]
    assert emulator.log[-1].bill is None


def test_headers_are_required(emulator: Emulator) -> None:
    assert post(emulator, headers={"anthropic-version": "2026-10-21"}).status_code == 401
    unversioned = post(emulator, headers={"authorization": "Bearer key"})
    assert unversioned.status_code == 400
    assert "anthropic-version" in unversioned.json()["error"]["message"]
    assert post(emulator, headers={**HEADERS, "anthropic-version": "2020-01-01"}).status_code == 400
    assert (
        post(emulator, headers={"x-api-key": "key", "anthropic-version": "2026-10-21"}).status_code
        == 200
    )


def test_tokens_are_counted_by_a_real_tokenizer(emulator: Emulator) -> None:
    emulator.settings.count = tokens.exact
    message = body()["messages"][0]["content"]
    response = post(emulator, body(system=None))
    assert usage(response) == (tokens.exact(message) + 6, 0, 0)
    reply = response.json()["content"][0]["text"]
    assert response.json()["usage"]["output_tokens"] == tokens.exact(reply)
    assert tokens.exact("hello, world") == 4  # what the tokenizer's author documents


def test_the_cache_writes_then_reads_then_forgets(emulator: Emulator) -> None:
    held = tokens.estimate(LONG)
    rest, written, read = usage(post(emulator))
    assert (written, read) == (held, 0)
    assert usage(post(emulator)) == (rest, 0, held)
    emulator.skipped_s += 299
    assert usage(post(emulator)) == (rest, 0, held)  # a read renews it
    emulator.skipped_s += 299
    assert usage(post(emulator)) == (rest, 0, held)
    emulator.skipped_s += 300
    assert usage(post(emulator)) == (rest, held, 0)


def test_an_hour_is_billed_apart(emulator: Emulator) -> None:
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = post(emulator, body(system=system)).json()["usage"]
    assert first["cache_creation"] == {
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": tokens.estimate(LONG),
    }
    emulator.skipped_s += 3599
    assert usage(post(emulator, body(system=system)))[1] == 0


def test_nothing_is_cached_below_the_floor_and_nobody_says_so(emulator: Emulator) -> None:
    emulator.settings.count = len  # one token a character: the floor to the token
    for length, cached in ((511, 0), (512, 512)):
        system = [{"type": "text", "text": "x" * length, "cache_control": {"type": "ephemeral"}}]
        assert usage(post(emulator, body(system=system)))[1] == cached
        assert usage(post(emulator, body(system=system)))[2] == cached


def test_another_model_text_or_output_format_shares_no_entry(emulator: Emulator) -> None:
    post(emulator)
    sonnet = body(model="claude-sonnet-5-5", thinking={"type": "between_tools"})
    assert usage(post(emulator, sonnet))[2] == 0
    other = [{"type": "text", "text": LONG + "!", "cache_control": {"type": "ephemeral"}}]
    assert usage(post(emulator, body(system=other)))[2] == 0
    formed = body(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert usage(post(emulator, formed))[2] == 0
    assert usage(post(emulator, body(output_config={"effort": "low"})))[2] > 0


async def test_an_entry_exists_only_once_an_answer_has_begun(emulator: Emulator) -> None:
    emulator.settings.latency_s = 0.1
    async with httpx.AsyncClient(base_url=emulator.url, headers=HEADERS) as http:
        together = await asyncio.gather(*(http.post("/v1/messages", json=body()) for _ in range(4)))
        later = await http.post("/v1/messages", json=body())
    assert [usage(response)[2] for response in together] == [0, 0, 0, 0]
    assert usage(later)[2] > 0


def test_structured_output_bills_its_hidden_prompt(emulator: Emulator) -> None:
    plain = sum(usage(post(emulator)))
    emulator.settings.structured_output_overhead = 250
    formed = post(
        emulator, body(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    )
    assert sum(usage(formed)) == plain + 250
    assert formed.json()["content"][0]["text"] == '{"a":50}'


def test_a_model_that_is_not_told_otherwise_thinks_and_bills_it(emulator: Emulator) -> None:
    emulator.settings.thinking_tokens = 60
    quiet = post(emulator).json()["usage"]["output_tokens"]
    thinking = post(emulator, body(thinking=None))
    assert thinking.json()["usage"]["output_tokens"] == quiet + 60
    assert [block["type"] for block in thinking.json()["content"]] == ["thinking", "text"]
    starved = post(emulator, body(thinking=None, max_tokens=62)).json()
    assert (starved["stop_reason"], starved["usage"]["output_tokens"]) == ("max_tokens", 62)


def test_rate_limits_answer_429_with_the_wait_and_headers(emulator: Emulator) -> None:
    emulator.settings.limits = [Bucket("requests", 2, emulator.clock)]
    first = post(emulator)
    assert first.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert post(emulator).status_code == 200
    refused = post(emulator)
    assert refused.status_code == 429
    assert float(refused.headers["retry-after"]) == 30
    emulator.skipped_s += 29
    assert post(emulator).status_code == 429
    emulator.skipped_s += 1
    assert post(emulator).status_code == 200


def test_the_log_has_every_request_with_its_bill(emulator: Emulator) -> None:
    emulator.settings.faults = faults.script(None, "overloaded")
    post(emulator)
    post(emulator)
    log = httpx.get(f"{emulator.url}/_emulator/log").json()
    assert [row["status"] for row in log] == [200, 529]
    assert log[0]["codes"] == ["x = 1"]
    assert log[0]["bill"]["output_tokens"] > 0
    assert (log[1]["fault"], log[1]["bill"]) == ("overloaded", None)


def test_settings_change_over_http(emulator: Emulator) -> None:
    change = {"judge": "position_biased", "latency_s": 0.0, "faults": {"script": ["api_error"]}}
    assert httpx.put(f"{emulator.url}/_emulator/settings", json=change).status_code == 204
    assert emulator.settings.judge is judges.position_biased
    assert post(emulator).status_code == 500
    assert httpx.put(f"{emulator.url}/_emulator/settings", json={"speed": 1}).status_code == 422
    assert httpx.post(f"{emulator.url}/_emulator/reset").status_code == 204
    assert emulator.log == []


def test_the_judges_do_what_they_are_named_for() -> None:
    codes = [f"x = {number}" for number in range(200)]
    assert judges.steady(codes) == judges.steady(codes[::-1])[::-1]
    same = ["x = 1"] * 4
    middle = [max(20, mark) for mark in judges.marks_for("x = 1")]
    assert len(set(judges.position_biased(same))) > 1, middle
    alone, company = (
        judges.companion_leaning(["x = 1"])[0],
        judges.companion_leaning(["x = 1", *codes[2:5]])[0],
    )
    assert alone == judges.marks_for("x = 1")
    assert alone != company
    mean = sum(sum(marks) for marks in judges.steady(codes)) / (200 * 4)
    assert mean == pytest.approx(50, abs=4)
