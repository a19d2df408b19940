"""Samples as a caller has them, made into a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from markbook.client.errors import InvalidRequestError
from markbook.contract import DEFAULT_RUN, Sample, ScoreRequest

SampleLike = Sample | Mapping[str, Any]
"""A Sample, or a mapping with its fields: `prompt`, `language`, `code`, and optionally `tests`
and `test_setup`.
"""


def make_request(
    samples: Iterable[SampleLike],
    *,
    run: str = DEFAULT_RUN,
    request_id: str | None = None,
    timeout_s: float | None = None,
    batch: bool | None = None,
) -> ScoreRequest:
    """Raises InvalidRequestError for the first field that cannot be sent.

    Its value is not shown: code may be long.
    """
    rows = [dict(sample) if isinstance(sample, Mapping) else sample for sample in samples]
    try:
        return ScoreRequest.model_validate(
            {
                "samples": rows,
                "run": run,
                "request_id": request_id,
                "timeout_s": timeout_s,
                "batch": batch,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        problem = first["msg"]
        if first["type"] == "extra_forbidden":
            problem = f"unknown; a sample has {', '.join(Sample.model_fields)}"
        raise InvalidRequestError(f"{_path(first['loc'])}: {problem}") from error


def _path(location: tuple[int | str, ...]) -> str:
    """("samples", 3, "prompt") -> "samples[3].prompt"."""
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in location
    ).removeprefix(".")


def list_tests(tests: Iterable[str]) -> list[str] | str:
    """A text stays one, to be refused: as a list it would be a test per letter."""
    return tests if isinstance(tests, str) else list(tests)
