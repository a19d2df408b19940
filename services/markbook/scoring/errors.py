"""Domain errors. Each carries the HTTP status and the code with which it reaches a client.

ServiceError
├── BadRequestError            422  the body is not what the contract asks for
├── RequestTimeoutError        408  the body took too long to arrive
├── UnsupportedMediaTypeError  415  a body not declared as JSON
├── UnknownHostError           421  a name that this service does not answer to without API keys
├── PayloadTooLargeError       413  over one of the service's limits
├── UnauthorizedError          401  no API key, or a wrong one
├── ForbiddenError             403  not a run that the key may use
├── MarkNotFoundError         404  no mark is stored under that key
├── BatchNotFoundError         404  there is no such batch, or the key may not use its run
├── TooManyRequestsError       429  the queue is full: retry later
├── UnscoredError             424, 503  samples without a mark, asked for in a shape that has no
place for one ├── StoreUnavailableError      503  the database cannot be reached ├──
ExecutionUnavailableError  503  the sandbox that runs tests is broken or is overloaded: retry later
└── ServiceStoppingError       503  the service is shutting down TeacherError              —    one
call to the teacher failed: its samples come back `unscored`
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from markbook.contract import ErrorCode
from markbook.errors import MarkbookError


class ServiceError(MarkbookError):
    """Base of all errors a client can see."""

    status = 500
    code = "internal_error"
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class BadRequestError(ServiceError):
    status = 422
    code = "invalid_request"


class RequestTimeoutError(ServiceError):
    status = 408
    code = "request_timeout"
    headers: Mapping[str, str] = {"Connection": "close"}


class UnsupportedMediaTypeError(ServiceError):
    status = 415
    code = "unsupported_media_type"


class UnknownHostError(ServiceError):
    status = 421
    code = "unknown_host"


class PayloadTooLargeError(ServiceError):
    status = 413
    code = "payload_too_large"


class UnauthorizedError(ServiceError):
    status = 401
    code = "unauthorized"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="markbook"'}


class ForbiddenError(ServiceError):
    status = 403
    code = "forbidden"


class MarkNotFoundError(ServiceError):
    status = 404
    code = "mark_not_found"


class BatchNotFoundError(ServiceError):
    status = 404
    code = "batch_not_found"


class TooManyRequestsError(ServiceError):
    status = 429
    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(retry_after_s)}


class UnscoredError(ServiceError):
    """With `retry_after_s` asking again may help (503), without it does not (424)."""

    code = "unscored"

    def __init__(self, detail: str, *, retry_after_s: float | None) -> None:
        super().__init__(detail)
        self.status = 424 if retry_after_s is None else 503
        if retry_after_s is not None:
            self.headers = {"Retry-After": str(math.ceil(retry_after_s))}


class StoreUnavailableError(ServiceError):
    """`str()` of it is the cause, with host and driver's text: for the log and for the operator. A
    client, which may have shown no key, learns `detail` alone.
    """

    status = 503
    code = "store_unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.detail = "the database is unavailable (see the service's log): retry later"


class ExecutionUnavailableError(ServiceError):
    """The sandbox gave no verdict, whatever the code was. Never a mark; asking again may help."""

    status = 503
    code = "execution_unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}


class ServiceStoppingError(ServiceError):
    status = 503
    code = "shutting_down"
    headers: Mapping[str, str] = {"Retry-After": "1"}


def stopping() -> ServiceStoppingError:
    return ServiceStoppingError("the service is stopping and takes no new work")


class TeacherError(Exception):
    """A teacher call without a usable reply. Never a mark, never cached."""

    def __init__(self, code: ErrorCode, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
