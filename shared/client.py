"""The client of the scoring service: sync and async over httpx, one attempt a call, typed answers and typed errors.

ClientError
├── ServiceUnavailable   not reachable, timed out, 429 or 5xx: the same request may be sent again
└── RequestRejected      any other 4xx: sending it again will not help

Asking again is safe: marks are kept under their fingerprint, and a request that is sent again with its `request_id`
is counted once. How long to wait and how often is the caller's choice.
"""

from __future__ import annotations

import uuid
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.contract import ErrorBody, ScoreRequest, ScoreResponse, Stats

M = TypeVar("M", bound=BaseModel)


class ClientError(Exception):
    """The service gave no marks. The message says why and where."""


class ServiceUnavailable(ClientError):
    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestRejected(ClientError):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail} (HTTP {status})")
        self.status = status
        self.code = code
        self.detail = detail


class _Endpoint:
    """What both clients share: how requests look and how answers are read."""

    def __init__(self, base_url: str, timeout_s: float, api_key: str | None) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise self.no_address(error) from error
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.options: dict[str, Any] = {"base_url": self.base_url, "timeout": timeout_s, "headers": headers}

    def score(self, request: ScoreRequest) -> dict[str, Any]:
        if request.request_id is None:
            request = request.model_copy(update={"request_id": uuid.uuid4().hex})
        headers = {"Content-Type": "application/json"}
        return {"method": "POST", "url": "/score", "content": request.model_dump_json(), "headers": headers}

    def stats(self, run: str | None) -> dict[str, Any]:
        return {"method": "GET", "url": "/stats", "params": {"run": run} if run else {}}

    def no_address(self, error: Exception) -> ClientError:
        return ClientError(f"{self.base_url} is no address of a service ({error}): it looks like http://127.0.0.1:8000")

    def unreachable(self, error: httpx.RequestError) -> ServiceUnavailable:
        reason = str(error) or type(error).__name__
        return ServiceUnavailable(f"the scoring service at {self.base_url} did not answer: {reason}")

    def read(self, model: type[M], response: httpx.Response) -> M:
        if response.is_success:
            try:
                return model.model_validate_json(response.content)
            except ValidationError as error:
                raise RequestRejected(
                    response.status_code, "not_markbook", f"{self.base_url} gave no {model.__name__}"
                ) from error
        try:
            body = ErrorBody.model_validate_json(response.content)
        except ValidationError:  # a proxy in between answers in its own words
            body = ErrorBody(error="http_error", detail=response.text[:200] or response.reason_phrase)
        if response.status_code == 429 or response.status_code >= 500:
            message = f"the scoring service at {self.base_url} cannot mark now: {body.error}: {body.detail}"
            raise ServiceUnavailable(message, _seconds(response.headers.get("retry-after")))
        raise RequestRejected(response.status_code, body.error, body.detail)


class ScoringClient:
    """The synchronous client. Safe to share between threads."""

    def __init__(self, base_url: str, *, timeout_s: float = 180.0, api_key: str | None = None) -> None:
        self._endpoint = _Endpoint(base_url, timeout_s, api_key)
        self._http = httpx.Client(**self._endpoint.options)

    def score(self, request: ScoreRequest) -> ScoreResponse:
        return self._endpoint.read(ScoreResponse, self._send(self._endpoint.score(request)))

    def stats(self, run: str | None = None) -> Stats:
        return self._endpoint.read(Stats, self._send(self._endpoint.stats(run)))

    def ready(self) -> bool:
        """Whether the service is up and its store answers."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.RequestError:
            return False

    def close(self) -> None:
        self._http.close()

    def _send(self, request: dict[str, Any]) -> httpx.Response:
        try:
            return self._http.request(**request)
        except httpx.UnsupportedProtocol as error:
            raise self._endpoint.no_address(error) from error
        except httpx.RequestError as error:
            raise self._endpoint.unreachable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncScoringClient:
    """The asynchronous client. One event loop."""

    def __init__(self, base_url: str, *, timeout_s: float = 180.0, api_key: str | None = None) -> None:
        self._endpoint = _Endpoint(base_url, timeout_s, api_key)
        self._http = httpx.AsyncClient(**self._endpoint.options)

    async def score(self, request: ScoreRequest) -> ScoreResponse:
        return self._endpoint.read(ScoreResponse, await self._send(self._endpoint.score(request)))

    async def stats(self, run: str | None = None) -> Stats:
        return self._endpoint.read(Stats, await self._send(self._endpoint.stats(run)))

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, request: dict[str, Any]) -> httpx.Response:
        try:
            return await self._http.request(**request)
        except httpx.UnsupportedProtocol as error:
            raise self._endpoint.no_address(error) from error
        except httpx.RequestError as error:
            raise self._endpoint.unreachable(error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()


def _seconds(header: str | None) -> float | None:
    """`Retry-After` as seconds; None where it is missing or a date."""
    try:
        return float(header) if header is not None else None
    except ValueError:
        return None
