"""What the adapters share: texts out of messages, and marks out of the service, or an error that
says why not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markbook.client import AsyncScoringClient, RetryPolicy
from markbook.contract import ErrorCode, Result, Sample, Scored, Unscored

WAIT_S = 600.0
"""Seconds to wait for a service that is away, and again for marks that it could not give."""

HOPELESS = frozenset({ErrorCode.BUDGET_EXHAUSTED, ErrorCode.TEACHER_REJECTED})
"""No later request will be marked either until the cause is resolved."""


class NoMarksError(Exception):
    """A sample has no mark, and continuing would train on a made-up one.

    The message explains what to do.
    """


async def marks(
    samples: Sequence[Sample], *, run: str, url: str | None, api_key: str | None, wait_s: float
) -> list[Result]:
    """One result per sample, in order. `url`, `api_key`: else $MARKBOOK_URL and $MARKBOOK_API_KEY.

    Raises ClientError when the service does not answer within `wait_s` seconds or refuses the
    request.
    """
    async with AsyncScoringClient(
        url, api_key=api_key or None, retry_policy=RetryPolicy(wait_s)
    ) as client:
        return await client.score_many(samples, run=run, rescore_s=wait_s)


def require_scores(results: Sequence[Result]) -> list[float]:
    """All scores, in order, for trainers in which every stand-in for a missing score becomes a
    number.

    Raises NoMarksError where one is missing.
    """
    errors = [result.error for result in results if isinstance(result, Unscored)]
    if errors:
        first = errors[0]
        raise NoMarksError(
            f"{len(errors)} of {len(results)} samples have no mark: {first.code}: {first.detail}"
        )
    return [result.score for result in results if isinstance(result, Scored)]


def check_hope(results: Sequence[Result]) -> None:
    """Raise NoMarksError when nothing was marked for a reason that will not go away."""
    errors = [result.error for result in results if isinstance(result, Unscored)]
    if errors and len(errors) == len(results) and all(error.code in HOPELESS for error in errors):
        raise NoMarksError(
            f"none of {len(results)} samples was marked: {errors[0].code}: {errors[0].detail}; "
            "mend that at the scoring service, then resume from the last checkpoint"
        )


def build_sample(
    prompt: str, code: str, language: str, tests: Any = None, test_setup: str | None = None
) -> Sample:
    """One sample from a row of a dataset, whose `tests` are a list, an array or None."""
    own = [] if tests is None else list(tests)  # an array has no truth value
    return Sample(
        prompt=prompt, language=language, code=code, tests=own, test_setup=test_setup or ""
    )


def build_samples(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    language: str | None,
) -> list[Sample]:
    """One sample per row. Prompts and completions are texts or messages; `columns` may hold
    `language`, `tests` and `test_setup`, a value per row. `language` goes before the column.

    Raises ValueError where there is no language, or a column of another length.
    """
    rows = len(prompts)
    if language is None and columns.get("language") is None:
        raise ValueError(
            'which language? markbook_reward(language="python"), or a column `language` in the '
            "dataset"
        )
    languages = columns["language"] if language is None else [language] * rows
    tests = columns.get("tests") or [None] * rows
    setups = columns.get("test_setup") or [None] * rows
    return [
        build_sample(text_of(prompt, "user"), text_of(completion, "assistant"), spoken, own, setup)
        for prompt, completion, spoken, own, setup in zip(
            prompts, completions, languages, tests, setups, strict=True
        )
    ]


def text_of(said: str | Sequence[Mapping[str, Any]], role: str) -> str:
    """A text as it is; of a list of messages, the content of those by `role`."""
    if isinstance(said, str):
        return said
    contents = [message.get("content") or "" for message in said if message.get("role") == role]
    return "\n\n".join(
        content if isinstance(content, str) else _text(content) for content in contents
    )


def _text(parts: Sequence[Mapping[str, Any]]) -> str:
    """Of a content in parts: [{"type": "text", "text": "…"}, …]."""
    return "".join(part.get("text") or "" for part in parts)
