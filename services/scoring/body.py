"""Reading a request's body: bounded while it arrives, validated against the contract, refused with a clear 4xx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from services.scoring.errors import BadRequest, PayloadTooLarge
from shared.contract import Sample, ScoreRequest
from shared.settings import Service

MAX_KEYS = 16

M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises PayloadTooLarge as soon as it is known to be over `max_bytes`."""
    too_large = PayloadTooLarge(
        f"the body is larger than {max_bytes:,} bytes (service.max_body_bytes); send fewer samples"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect as error:
        raise BadRequest("the connection was closed before the whole body had come") from error
    return bytes(body)


async def read_score_request(request: Request, limits: Service) -> ScoreRequest:
    """The request, within the service's limits. Raises BadRequest (422) or PayloadTooLarge (413)."""
    data = await read_object(request, limits)
    samples = data.get("samples")
    if isinstance(samples, list):
        check_count(len(samples), limits, "samples")
    # every error is collected before the first is told: a million unknown keys would hold the service up
    for values in (data, *(samples if isinstance(samples, list) else ())):
        if isinstance(values, dict) and len(values) > MAX_KEYS:
            raise BadRequest(f"an object with {len(values)} keys; the fields are described at /docs")
    parsed = validated(ScoreRequest, data)
    check_sizes(parsed.samples, limits, "samples")
    return parsed


def validated(model: type[M], data: Mapping[str, Any]) -> M:
    """Raises BadRequest, which names the first field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _bad_request(error) from error


def check_count(samples: int, limits: Service, field: str) -> None:
    if samples > limits.max_samples_per_request:
        raise PayloadTooLarge(
            f"{samples} samples in one request; at most {limits.max_samples_per_request} "
            "(service.max_samples_per_request)",
            field=field,
        )


def check_sizes(samples: Sequence[Sample], limits: Service, field: str) -> None:
    for index, sample in enumerate(samples):
        size = len(sample.prompt) + len(sample.code)
        if size > limits.max_sample_chars:
            raise PayloadTooLarge(
                f"task and code have {size:,} characters; at most {limits.max_sample_chars:,} "
                "(service.max_sample_chars)",
                field=f"{field}[{index}]",
            )
        _check_tests(sample, limits, f"{field}[{index}]")


def _check_tests(sample: Sample, limits: Service, field: str) -> None:
    if len(sample.tests) > limits.max_tests_per_sample:
        raise PayloadTooLarge(
            f"{len(sample.tests):,} tests; at most {limits.max_tests_per_sample:,} (service.max_tests_per_sample)",
            field=f"{field}.tests",
        )
    size = sum(map(len, sample.tests)) + len(sample.test_setup)
    if size > limits.max_test_chars:
        raise PayloadTooLarge(
            f"tests and setup have {size:,} characters; at most {limits.max_test_chars:,} (service.max_test_chars)",
            field=f"{field}.{'tests' if len(sample.test_setup) <= limits.max_test_chars else 'test_setup'}",
        )


async def read_object(request: Request, limits: Service) -> dict[str, Any]:
    """The body as a JSON object. Raises BadRequest, PayloadTooLarge."""
    body = await read_body(request, limits.max_body_bytes)
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        halves = "; \\ud800 to \\udfff are halves of a pair, alone they are no text"
        raise BadRequest(f"Invalid JSON: {error}{halves if 'hex escape' in str(error) else ''}") from error
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object, described at /docs")
    return data


def _bad_request(error: ValidationError) -> BadRequest:
    first, *others = error.errors(include_url=False, include_context=False)
    field = _path(first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    where = f"{field}: " if field else ""
    return BadRequest(f"{where}{first['msg']}{more}", field=field or None)


def _path(location: tuple[Any, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
