"""Domain errors. Each carries the HTTP status and the code with which it reaches a client.

MarkbookError
├── BadRequest            422  the body is not what the contract asks for
├── PayloadTooLarge       413  over one of the service's limits
├── StoreUnavailable      503  the database cannot be reached
└── ServiceStopping       503  the service is shutting down
TeacherError              —    one call to the teacher failed: its samples come back `unscored`
"""

from __future__ import annotations

from shared.contract import ErrorCode


class MarkbookError(Exception):
    """Base of all errors a client can see."""

    status = 500
    code = "internal_error"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class BadRequest(MarkbookError):
    status = 422
    code = "invalid_request"


class PayloadTooLarge(MarkbookError):
    status = 413
    code = "too_large"


class StoreUnavailable(MarkbookError):
    status = 503
    code = "store_unavailable"


class ServiceStopping(MarkbookError):
    status = 503
    code = "stopping"


class TeacherError(Exception):
    """A teacher call without a usable reply. Never a mark, never cached."""

    def __init__(self, code: ErrorCode, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
