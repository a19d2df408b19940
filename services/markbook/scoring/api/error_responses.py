"""The errors in the OpenAPI description: by status, what each means, its headers and an example
of its body.
"""

from __future__ import annotations

from typing import Any

from markbook.contract import ErrorBody
from markbook.scoring.errors import (
    BadRequestError,
    ForbiddenError,
    MarkNotFoundError,
    PayloadTooLargeError,
    RequestTimeoutError,
    ServiceError,
    StoreUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
    UnknownHostError,
    UnscoredError,
    UnsupportedMediaTypeError,
)

_BODY = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_AUTHENTICATE = {
    "WWW-Authenticate": {"description": "How to send the key.", "schema": {"type": "string"}}
}


def _response(
    example: ServiceError, description: str, headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    body = ErrorBody(error=example.code, detail=example.detail, field=example.field).model_dump(
        exclude_none=True
    )
    content = {"application/json": {"schema": _BODY, "example": body}}
    return {"description": description, "content": content} | (
        {"headers": headers} if headers else {}
    )


ERRORS: dict[int, dict[str, Any]] = {
    401: _response(
        UnauthorizedError("an API key is required: send Authorization: Bearer mb_…"),
        "No API key, or a wrong or a revoked one.",
        _AUTHENTICATE,
    ),
    403: _response(
        ForbiddenError("the API key ann may use the runs team-a/*, not team-b/1", field="run"),
        "A run that the API key may not use, or a request that a browser sent for another site.",
    ),
    404: _response(
        MarkNotFoundError(
            "the store has no mark of STUDENT:bf1d4bf0179f:ef232b6686b2:python under profile "
            "2a01c9de4de7b0fd"
        ),
        "The store has no such mark.",
    ),
    408: _response(
        RequestTimeoutError("the body did not arrive within 60 s (service.body_timeout_s)"),
        "The body took too long to arrive.",
    ),
    413: _response(
        PayloadTooLargeError(
            "300 samples in one request; at most 256 (service.max_samples_per_request)",
            field="samples",
        ),
        "Over one of the service's limits: send less at a time.",
    ),
    415: _response(
        UnsupportedMediaTypeError(
            "the body must be JSON, with the header Content-Type: application/json"
        ),
        "A body that is not declared as JSON.",
    ),
    421: _response(
        UnknownHostError(
            "this service asks for no API key, so it answers to no name that it does not know"
        ),
        "Without API keys: a `Host` that is neither an address, a name without a dot, nor in "
        "service.allowed_hosts.",
    ),
    422: _response(
        BadRequestError("samples[0].language: Field required", field="samples[0].language"),
        "Not what this description asks for; `field` names the place.",
    ),
    424: _response(
        UnscoredError("1 of 2 samples have no mark: teacher_refused: declined", retry_after_s=None),
        "A sample has no mark, and asking again will not help: never a number.",
    ),
    429: _response(
        TooManyRequestsError(
            "16 requests are in progress and 256 are queued: retry later", retry_after_s=1
        ),
        "Too many requests are queued: retry later.",
        _RETRY_AFTER,
    ),
    503: _response(
        StoreUnavailableError(""),
        "The database cannot be reached, the service is stopping, or, for other trainers, a mark "
        "is missing that may come: retry.",
        _RETRY_AFTER,
    ),
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with these statuses."""
    return {status: ERRORS[status] for status in statuses}
