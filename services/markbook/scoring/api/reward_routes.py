"""Marks in the shapes of other trainers: `POST /get_reward` for OpenRLHF and `POST /verify` for
NeMo Gym.

Neither shape has a place for a sample without a mark, and its trainer would learn from whatever
number stood there: so one such sample makes the whole answer an error. The marks of the others are
stored by then, and a retry pays only for what is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic_core import from_json, to_json

from markbook.contract import (
    DEFAULT_RUN,
    Language,
    RunName,
    Sample,
    Scored,
    ScoreRequest,
    Source,
    Unscored,
)
from markbook.scoring.api.auth import check_run
from markbook.scoring.api.auth_middleware import get_api_key
from markbook.scoring.api.dependencies import get_state
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.request_body import check_count, check_sizes, read_object, validated
from markbook.scoring.api.reward_models import (
    Hints,
    ResponsesItem,
    RewardRequest,
    RewardResponse,
    VerifierMetadata,
    VerifyRequest,
    VerifyResponse,
)
from markbook.scoring.api.routers import create_router
from markbook.scoring.errors import BadRequestError, UnscoredError

router = create_router(tags=["other trainers"])

_END_TOKEN = re.compile(
    r"(?:<\|[^<>|\s]{1,32}\|>|<｜[^<>｜\s]{1,32}｜>|</s>|<eos>|<end_of_turn>|<pad>)\s{0,4}\Z"
)
"""A special token at the end of a decoded text: <|im_end|>, <|eot_id|>, </s>, …"""
_LONGEST_TOKEN = 40

Run = Annotated[RunName, Query(description="The name under which the samples are counted.")]
Spoken = Annotated[
    Language | None, Query(description="The language of samples that do not name their own.")
]
TimeoutS = Annotated[
    float | None,
    Query(gt=0, le=86_400, description="Seconds after which a missing mark is a 503: retry."),
]

_ERRORS = error_responses(403, 408, 413, 415, 424, 429, 503)


@router.post("/get_reward", response_model=RewardResponse, responses=_ERRORS)
async def get_reward(
    request: Request, run: Run = DEFAULT_RUN, language: Spoken = None, timeout_s: TimeoutS = None
) -> Response:
    """OpenRLHF's remote reward model: `--reward.remote_url
    'http://HOST:8000/get_reward?run=RUN&language=python'`.

    It asks five times, a second apart. Source: `openrlhf/utils/agent.py` and
    `openrlhf/cli/serve_rm.py` in https://github.com/OpenRLHF/OpenRLHF.
    """
    limits = get_state(request).config.service
    asked = validated(RewardRequest, await read_object(request, limits))
    check_count(len(asked.query), limits, "query")
    samples = list(_rewarded(asked, language))
    check_sizes(samples, limits, "query")
    marks = await _marks(request, ScoreRequest(run=run, timeout_s=timeout_s, samples=samples))
    scores = [mark.score for mark in marks]
    logs = {
        "markbook_cached": [
            float(mark.source in (Source.CACHE, Source.COALESCED)) for mark in marks
        ],
        "markbook_heuristic": [float(mark.source is Source.HEURISTIC) for mark in marks],
    }
    answer = RewardResponse(rewards=scores, scores=scores, extra_logs=logs)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post("/verify", response_model=VerifyResponse, responses=_ERRORS)
async def verify(
    request: Request, run: Run = DEFAULT_RUN, language: Spoken = None, timeout_s: TimeoutS = None
) -> Response:
    """A verifier of NeMo Gym: the request comes back with its `reward`.

    The task is the user's text, the completion all text of the response's messages. Source:
    `nemo_gym/base_resources_server.py` in https://github.com/NVIDIA-NeMo/Gym.
    """
    limits = get_state(request).config.service
    data = await read_object(request, limits)
    _check_finite(data)
    asked = validated(VerifyRequest, data)
    row = asked.verifier_metadata or VerifierMetadata()
    task = _said(asked.responses_create_params.input, "user")
    if not task:
        raise BadRequestError(
            "responses_create_params.input holds no text of a user",
            field="responses_create_params.input",
        )
    if not (spoken := row.language or language):
        raise _unspoken("verifier_metadata.language")
    code = _said(asked.response.output, "assistant")
    sample = Sample(
        prompt=task, language=spoken, code=code, tests=row.tests, test_setup=row.test_setup
    )
    check_sizes([sample], limits, "samples")
    [mark] = await _marks(
        request, ScoreRequest(run=row.run or run, timeout_s=timeout_s, samples=[sample])
    )
    return Response(
        to_json(data | {"reward": mark.score, "markbook": mark}), media_type="application/json"
    )


async def _marks(request: Request, asked: ScoreRequest) -> list[Scored]:
    """A mark for every sample. Raises UnscoredError."""
    key = get_api_key(request)
    check_run(key, asked.run)
    answer = await get_state(request).pipeline.score(asked, key)
    failed = [result.error for result in answer.results if isinstance(result, Unscored)]
    if failed:
        # errors that a retry cannot fix come first
        error = min(failed, key=lambda each: each.retry_after_s is not None)
        waits = [each.retry_after_s for each in failed if each.retry_after_s is not None]
        detail = (
            f"{len(failed)} of {len(answer.results)} samples have no mark: {error.code}: "
            f"{error.detail}"
        )
        raise UnscoredError(detail, retry_after_s=max(waits) if len(waits) == len(failed) else None)
    return [result for result in answer.results if isinstance(result, Scored)]


def _rewarded(asked: RewardRequest, language: str | None) -> Iterator[Sample]:
    labels = [None] * len(asked.query) if asked.labels is None else asked.labels
    if not len(asked.query) == len(asked.prompts) == len(labels):
        counts = f"{len(asked.query)} query, {len(asked.prompts)} prompts, {len(labels)} labels"
        raise BadRequestError(f"the lists differ in length: {counts}", field="query")
    for place, (query, prompt, label) in enumerate(
        zip(asked.query, asked.prompts, labels, strict=True)
    ):
        begins = query.find(prompt)
        if begins < 0:
            raise BadRequestError(
                f"query[{place}] does not hold prompts[{place}], so the start of the completion "
                "is unknown (was the prompt cut to fit max_len?)",
                field=f"query[{place}]",
            )
        hints = _hints(label, place)
        if not (spoken := hints.language or language):
            raise _unspoken(f"labels[{place}].language")
        code = without_end_tokens(query[begins + len(prompt) :])
        tests = {"tests": hints.tests, "test_setup": hints.test_setup}
        yield Sample.model_validate(
            {"prompt": hints.prompt or prompt, "language": spoken, "code": code, **tests}
        )


def without_end_tokens(text: str) -> str:
    """A closing fence with a special token behind it would close nothing."""
    end = len(text)
    while found := _END_TOKEN.search(text, max(0, end - _LONGEST_TOKEN), end):
        end = found.start()
    return text[:end]


def _hints(label: Any, place: int) -> Hints:
    """A label is the trainer's own business unless it is a JSON object, as text or as such."""
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            label = from_json(label)
        except ValueError:
            return Hints()
    if not isinstance(label, dict):
        return Hints()
    try:
        return validated(Hints, label)
    except BadRequestError as error:
        raise BadRequestError(
            f"labels[{place}].{error.detail}", field=f"labels[{place}]"
        ) from error


def _said(items: str | Sequence[ResponsesItem], role: str) -> str:
    """All text of one role's messages.

    For the assistant that is what the Responses API calls `output_text`.
    """
    if isinstance(items, str):
        return items
    texts: list[str] = []
    for item in items:
        if item.role != role or item.type not in ("message", None) or item.content is None:
            continue
        parts = item.content
        texts.append(
            parts if isinstance(parts, str) else "".join(part.text or "" for part in parts)
        )
    return ("" if role == "assistant" else "\n\n").join(texts)


def _check_finite(data: Mapping[str, Any]) -> None:
    """Raises BadRequestError for a row that cannot be returned as JSON: 1e999 is read as
    infinity.
    """
    try:
        json.dumps(data, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the row holds a number that JSON cannot hold: {error}") from error


def _unspoken(place: str) -> BadRequestError:
    return BadRequestError(
        f"no language: set it in the URL (?language=python) or in {place}", field="language"
    )
