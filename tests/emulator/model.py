"""One answered request: the judge's reply in the asked form, its tokens, and how the prompt
cache splits the input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.emulator import faults, judges
from tests.emulator.cache import Segment, Split
from tests.emulator.catalog import Model
from tests.emulator.tokens import FRAME
from tests.emulator.validation import Request, blocks


@dataclass(frozen=True)
class Settlement:
    """Tokens of one request by kind; input_tokens holds neither cache kind."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_5m: int
    cache_write_1h: int

    def usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation_input_tokens": self.cache_write_5m + self.cache_write_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
            "service_tier": "standard",
        }

    def dollars(self, model: Model) -> float:
        """The invoice, with the emulator's own prices."""
        equivalent = (
            self.input_tokens
            + self.cache_read_input_tokens * model.cache_read
            + self.cache_write_5m * 1.25
            + self.cache_write_1h * 2
        )
        return (equivalent * model.input + self.output_tokens * model.output) / 1e6


@dataclass(frozen=True)
class Reply:
    content: list[dict[str, Any]]
    stop_reason: str
    stop_details: dict[str, Any] | None
    output_tokens: int


def segments(
    request: Request,
    count: Callable[[str], int],
    structured_output_overhead: int,
    *,
    always: bool = False,
) -> list[Segment]:
    """The prompt as the cache sees it.

    The hidden prompt of structured output stands in front of everything.
    """
    hidden = [Segment("", structured_output_overhead)] if always else []
    if request.output_config and request.output_config.format:
        text = json.dumps(request.output_config.format.schema_, sort_keys=True)
        hidden = [Segment(text, structured_output_overhead)]
    shown = [
        Segment(
            block.text, count(block.text), block.cache_control.ttl if block.cache_control else None
        )
        for block in blocks(request)
    ]
    return [*hidden, *shown, Segment("", FRAME)]


def reply_to(
    request: Request,
    judge: judges.Judge,
    count: Callable[[str], int],
    thinking_tokens: int,
    fault: str | None,
) -> Reply:
    """What the model says, within max_tokens."""
    text = _text(request, judge, fault)
    if fault == "refusal":
        details = {"type": "refusal", "category": "cyber", "explanation": None}
        return Reply([], "refusal", details, 1)
    content: list[dict[str, Any]] = []
    if thinking_tokens:
        content.append({"type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJl"})
    room = request.max_tokens - thinking_tokens
    if fault == "cut":
        room = min(room, count(text) // 2)
    whole = text
    while count(text) > max(0, room):
        text = text[: -max(1, (count(text) - max(0, room)) // 2)]
    content.append({"type": "text", "text": text})
    output = min(request.max_tokens, thinking_tokens + count(text))
    return Reply(content, "end_turn" if text == whole else "max_tokens", None, output)


def thinks(request: Request, model: Model) -> bool:
    if request.thinking is None:
        return model.thinks
    return request.thinking.type in ("enabled", "adaptive")


def codes_of(request: Request) -> list[str]:
    """The samples in the order shown; none if the message is not of the known form."""
    try:
        return judges.read_samples(list(blocks(request))[-1].text)
    except ValueError:
        return []


def bill(split: Split, output_tokens: int) -> Settlement:
    return Settlement(split.input, output_tokens, split.read, split.write_5m, split.write_1h)


def scope(asked: Request) -> str:
    """What a prefix depends on besides its text: other models and other output formats share no
    cache.
    """
    form = (
        asked.output_config.format.schema_
        if asked.output_config and asked.output_config.format
        else None
    )
    return json.dumps([asked.model, form], sort_keys=True)


def message(
    number: int, name: str, bill: Settlement, reply: Reply, tier: str = "standard"
) -> dict[str, Any]:
    return {
        "id": f"msg_{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": name,
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "stop_details": reply.stop_details,
        "usage": {**bill.usage(), "service_tier": tier},
    }


def _text(request: Request, judge: judges.Judge, fault: str | None) -> str:
    codes = codes_of(request)
    if not codes:
        return "I can see no samples in this message."
    explain = any(
        re.search("^Reply with one line .* the main reason", block.text, re.M)
        for block in blocks(request)
    )
    lines = judges.lines(judge(codes), explain=explain)
    if request.output_config and request.output_config.format:
        schema = request.output_config.format.schema_
        found = (
            judges.as_json(judge(codes))
            if schema.get("properties", {}).keys() == {"marks"}
            else _instance(schema)
        )
        return json.dumps(found, separators=(",", ":"))
    return "\n".join(faults.REPLIES[fault](lines) if fault in faults.REPLIES else lines)


def _instance(schema: dict[str, Any]) -> Any:
    """Some value that the schema allows: structured output is held to its schema, whatever the
    model would say.
    """
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _instance(inner) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [_instance(schema["items"])]
        case "integer" | "number":
            return 50
        case "boolean":
            return True
    return "text"
