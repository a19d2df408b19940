"""Reading a request's body: bounded while it arrives, validated against the contract, refused
with a clear 4xx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from markbook.config.settings import Config, Service
from markbook.contract import Sample, ScoreRequest
from markbook.scoring.api.suggestions import did_you_mean
from markbook.scoring.errors import BadRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

MAX_KEYS = 16
_MOST_SHOWN = 8
"""Errors of one object that are reported in full."""
_SHOWN_CHARS = 80
"""Of a name that a client has sent."""

_BODY_SETTING = " (service.max_body_bytes); send fewer samples"

M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request, max_bytes: int, setting: str = _BODY_SETTING) -> bytes:
    """The whole body. Raises PayloadTooLargeError as soon as it is known to be over `max_bytes`.

    `setting`: the end of that error's text.
    """
    too_large = PayloadTooLargeError(f"the body is larger than {max_bytes:,} bytes{setting}")
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
        raise BadRequestError("the connection was closed before the whole body had come") from error
    return bytes(body)


def is_batch(request: ScoreRequest, config: Config) -> bool:
    """Whether a request is to be answered as a batch."""
    return config.teacher.batch == "on" if request.batch is None else request.batch


async def read_score_request(request: Request, config: Config) -> ScoreRequest:
    """The request, within the service's limits.

    Raises BadRequestError (422) or PayloadTooLargeError (413).
    """
    limits = config.service
    data = await read_object(request, limits)
    samples = data.get("samples")
    if isinstance(samples, list):
        if data.get("batch", config.teacher.batch == "on") is True:
            check_batch_count(len(samples), limits)
        else:
            check_count(len(samples), limits, "samples")
    # pydantic collects every error before reporting the first: a million unknown keys would block
    # the service
    for values in (data, *(samples if isinstance(samples, list) else ())):
        if isinstance(values, dict) and len(values) > MAX_KEYS:
            raise BadRequestError(
                f"an object with {len(values)} keys; the fields are described at /docs"
            )
    parsed = validated(ScoreRequest, data)
    check_sizes(parsed.samples, limits, "samples")
    return parsed


def validated(model: type[M], data: Mapping[str, Any]) -> M:
    """Raises BadRequestError, which names every field that is wrong in the first object that has
    one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _bad_request(error, model) from error


def check_count(samples: int, limits: Service, field: str) -> None:
    if samples > limits.max_samples_per_request:
        raise PayloadTooLargeError(
            f"{samples} samples in one request; at most {limits.max_samples_per_request} "
            "(service.max_samples_per_request)",
            field=field,
        )


def check_batch_count(samples: int, limits: Service) -> None:
    if samples > limits.max_samples_per_batch:
        raise PayloadTooLargeError(
            f"{samples} samples in one batch; at most {limits.max_samples_per_batch} "
            "(service.max_samples_per_batch)",
            field="samples",
        )


def check_sizes(samples: Sequence[Sample], limits: Service, field: str) -> None:
    for index, sample in enumerate(samples):
        size = len(sample.prompt) + len(sample.code)
        if size > limits.max_sample_chars:
            raise PayloadTooLargeError(
                f"task and code have {size:,} characters; at most {limits.max_sample_chars:,} "
                "(service.max_sample_chars)",
                field=f"{field}[{index}]",
            )
        _check_tests(sample, limits, f"{field}[{index}]")


def _check_tests(sample: Sample, limits: Service, field: str) -> None:
    if len(sample.tests) > limits.max_tests_per_sample:
        raise PayloadTooLargeError(
            f"{len(sample.tests):,} tests; at most {limits.max_tests_per_sample:,} "
            "(service.max_tests_per_sample)",
            field=f"{field}.tests",
        )
    size = sum(map(len, sample.tests)) + len(sample.test_setup)
    if size > limits.max_test_chars:
        is_setup = len(sample.test_setup) > limits.max_test_chars
        raise PayloadTooLargeError(
            f"tests and setup have {size:,} characters; at most {limits.max_test_chars:,} "
            "(service.max_test_chars)",
            field=f"{field}.{'test_setup' if is_setup else 'tests'}",
        )


async def read_object(
    request: Request, limits: Service, max_bytes: int | None = None
) -> dict[str, Any]:
    """The body as a JSON object.

    Raises BadRequestError, PayloadTooLargeError, UnsupportedMediaTypeError.

    `max_bytes`: of a route whose bodies are small, whatever the service's limit.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        # any web page may send text/plain without asking; for JSON a browser asks first, and is not
        # answered
        raise UnsupportedMediaTypeError(
            "the body must be JSON, with the header Content-Type: application/json"
        )
    if max_bytes is not None and max_bytes < limits.max_body_bytes:
        body = await read_body(request, max_bytes, "")
    else:
        body = await read_body(request, limits.max_body_bytes)
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        halves = "; \\ud800 to \\udfff are halves of a pair, alone they are no text"
        raise BadRequestError(
            f"Invalid JSON: {error}{halves if 'hex escape' in str(error) else ''}"
        ) from error
    if not isinstance(data, dict):
        raise BadRequestError("the body must be a JSON object, described at /docs")
    return data


def _bad_request(error: ValidationError, model: type[BaseModel]) -> BadRequestError:
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]["loc"]
    shown = [each for each in errors if each["loc"][:-1] == first[:-1]][:_MOST_SHOWN]
    more = f" (and {len(errors) - len(shown)} more)" if len(errors) > len(shown) else ""
    detail = "; ".join(_fault(each["loc"], each["type"], each["msg"], model) for each in shown)
    return BadRequestError(f"{detail}{more}", field=_path(first) or None)


def _fault(location: tuple[Any, ...], kind: str, said: str, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        said = f"unknown field{did_you_mean(str(location[-1]), _fields(model, location[:-1]))}"
    field = _path(location)
    return f"{field}: {said}" if field else said


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The fields of the object at `location` in a `model`; empty where it may be of several
    types.
    """
    here: Any = model
    for part in location:
        if isinstance(part, str) and isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(part)
            here = field.annotation if field else None
        else:
            here = next(iter(get_args(here)), None)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _path(location: tuple[Any, ...]) -> str:
    path = ""
    for part in location:
        name = str(part)[:_SHOWN_CHARS]
        path += f"[{part}]" if isinstance(part, int) else f".{name}" if path else name
    return path
