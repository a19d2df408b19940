"""What can go wrong, and which answer of a server means what.

ClientError
├── InvalidRequestError       arguments that no request can be made of; nothing was sent
├── ServiceUnavailableError   not reachable, timed out, or a status of statuses.py (429, 5xx): may
be sent again └── RequestRejectedError      any other status: sending it again will not help

A sample that the service could not score is no error of a call: its result is Unscored, with a
reason.
"""

from __future__ import annotations

from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from markbook.contract import ErrorBody
from markbook.errors import MarkbookError
from markbook.retryable_statuses import is_worth_another_try

M = TypeVar("M", bound=BaseModel)


class ClientError(MarkbookError):
    """No scores. The message says why and where. The base class of the errors below."""


class InvalidRequestError(ClientError, ValueError):
    """An argument is wrong, such as an empty prompt or an unknown field. Nothing was sent."""


class ServiceUnavailableError(ClientError):
    """No answer, or one that says to come back later, for as long as the retry policy waited.

    `retry_after_s`: seconds that the service asked to wait, if it did.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestRejectedError(ClientError):
    """The service refused the request, or what answered is not a scoring service.

    The same request fails again.

    `status`: the HTTP status. `code`: the service's error code, such as `invalid_request`,
    `unauthorized` or `payload_too_large`; `not_markbook` where the answer has another form.
    `detail`: the reason, for people.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail} (HTTP {status})")
        self.status = status
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[Self], tuple[int, str, str]]:
        return type(self), (
            self.status,
            self.code,
            self.detail,
        )  # for other processes: rebuilt from its arguments


def read(model: type[M], response: httpx.Response, base_url: str) -> M:
    if response.is_success:
        try:
            # a newer service may say more than this client knows of
            return model.model_validate_json(response.content, extra="ignore")
        except ValidationError as error:
            if response.status_code == 202:
                detail = (
                    f"{base_url} answers with batches (teacher.batch is on): use "
                    "submit_batch, or set it to off"
                )
                raise RequestRejectedError(202, "batch", detail) from error
            raise RequestRejectedError(
                response.status_code, "not_markbook", f"{base_url} gave no {model.__name__}"
            ) from error
    try:
        body = ErrorBody.model_validate_json(response.content, extra="ignore")
    except ValidationError:  # a proxy in between answers in its own words
        body = ErrorBody(error="http_error", detail=response.text[:200] or response.reason_phrase)
    if is_worth_another_try(response.status_code):
        message = f"the scoring service at {base_url} cannot mark now: {body.error}: {body.detail}"
        raise ServiceUnavailableError(message, _seconds(response.headers.get("retry-after")))
    raise RequestRejectedError(response.status_code, body.error, body.detail)


def _seconds(header: str | None) -> float | None:
    """`Retry-After` as seconds; None where it is missing or a date."""
    try:
        return float(header) if header is not None else None
    except ValueError:
        return None
