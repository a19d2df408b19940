"""`teacher.constrain`: replies that the server holds to a JSON schema, `{"marks": [[NUMBER, MARK,
MARK, …], …]}`.

The provider and vLLM call it structured outputs; both take the schema in `output_config.format`.
What comes back is turned into lines and read as lines are: not every server holds its model to all
of a schema. Source: https://docs.vllm.ai, "Structured Outputs"; the provider's documentation of
structured outputs.
"""

from __future__ import annotations

import json
import re
from typing import Any

from markbook.config.settings import TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.teachers.anthropic.models import ModelFacts
from markbook.scoring.types import ScoringFailure

FORM = """ Write these lines as JSON: {"marks": [[number, mark, mark, ...], ...]}."""
FORM_EXPLAINED = (
    " Write these lines as JSON: "
    '{"marks": [{"line": [number, mark, mark, ...], "reason": "..."}, ...]}.'
)
"""Added to the system prompt, so that the model means to write what it is held to."""

_REFUSED = re.compile(
    r"output_config|output_format|response_format|json_schema|schema|structured", re.I
)
"""How servers name what they do not support."""
_FENCE = re.compile(r"^\s*```\w*\s*\n|\n\s*```\s*$")
"""Around the JSON of a server that does not hold its model to the schema."""


def is_constrained(config: TeacherConfig, facts: ModelFacts) -> bool:
    """Whether requests ask for it. `auto`: of a model that is not the provider's.

    The provider bills a hidden prompt in every call for it, and its models hardly ever need it: see
    docs/decisions/0001-reply-form.md. At other servers it costs the brackets, and where a small
    model writes prose instead, every sample is requested once more, alone.
    """
    return config.constrain == "on" or (config.constrain == "auto" and facts.thinking == "unknown")


def reply_schema(count: int, criteria: int, *, explain: bool, bounded: bool) -> dict[str, Any]:
    """The schema of a reply about `count` samples.

    `bounded`: with numbers, ranges and lengths. The provider refuses these, and has a prompt cache
    for each schema, so that one for it must not depend on `count`.
    """
    if not bounded:
        line = {"type": "array", "items": {"type": "integer"}}
        return _object(
            {"marks": {"type": "array", "items": _with_reason(line) if explain else line}}
        )
    mark = {"type": "integer", "minimum": 0, "maximum": 100}
    lines = [_tuple([{"const": number}, *[mark] * criteria]) for number in range(1, count + 1)]
    return _object({"marks": _tuple([_with_reason(line) for line in lines] if explain else lines)})


def as_lines(text: str) -> str:
    """The lines of marks that a JSON reply stands for; `text` itself where it is other text.

    Text of another form is left to the reader of lines: a server that ignores the schema may have
    sent lines.
    """
    try:
        reply = json.loads(_FENCE.sub("", text), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        return text
    rows = reply.get("marks") if isinstance(reply, dict) and reply.keys() == {"marks"} else None
    if not isinstance(rows, list):
        return text
    lines = [_line(row) for row in rows]
    return text if None in lines else "\n".join(map(str, lines))


def refuses_schema(failure: ScoringFailure) -> bool:
    """Whether the server refused the request because of its schema."""
    return (
        failure.code is ErrorCode.TEACHER_REJECTED and _REFUSED.search(failure.detail) is not None
    )


def _line(row: object) -> str | None:
    """One line; None for what is no row of integers, or of a line and its reason."""
    line, reason = row, ""
    if (
        isinstance(row, dict)
        and row.keys() == {"line", "reason"}
        and isinstance(row["reason"], str)
    ):
        line, reason = row["line"], " ".join(row["reason"].split())
    if not isinstance(line, list) or not all(type(number) is int for number in line):
        return None
    return " ".join([*map(str, line), *([reason] if reason else [])])


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that is there twice, of which Python would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _with_reason(line: dict[str, Any]) -> dict[str, Any]:
    return _object({"line": line, "reason": {"type": "string"}})


def _tuple(items: list[dict[str, Any]]) -> dict[str, Any]:
    """An array of exactly these items."""
    return {
        "type": "array",
        "prefixItems": items,
        "items": False,
        "minItems": len(items),
        "maxItems": len(items),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
