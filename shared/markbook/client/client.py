"""The two clients. The async one does the work; the sync one runs it in a thread of its own."""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import itertools
import threading
import uuid
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx
from pydantic import BaseModel

from markbook.client.batching import add_usage, make_part, split
from markbook.client.errors import ClientError, ServiceUnavailable, read
from markbook.client.retry import FIRST_PAUSE_S, RetryPolicy, Tell
from markbook.config.settings import Service
from markbook.contract import KeptMarks, ScoreRequest, ScoreResponse, Stats, Unscored
from markbook.redaction import hide_secrets

KEEP_ALIVE_S = 3.0
"""Seconds that an idle connection is used again: the service closes it after 5, which a request should not meet."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What both clients take, described at AsyncScoringClient."""

    timeout_s: float
    api_key: str | None
    patience: RetryPolicy | None
    max_in_flight: int
    limits: Service | None


class AsyncScoringClient:
    """For one event loop. `timeout_s` bounds each wait for the service; at most `max_in_flight` requests at a time.

    `limits`: those of the service, where it does not have the default ones.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 180.0,
        api_key: str | None = None,
        patience: RetryPolicy | None = None,
        max_in_flight: int = 16,
        limits: Service | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._shown = hide_secrets(self.base_url)
        self._patience = patience or RetryPolicy()
        self._limits = limits or Service()
        self._slots = asyncio.Semaphore(max_in_flight)
        url = _address(self.base_url)
        self._http = httpx.AsyncClient(
            base_url=url,
            trust_env=not _is_loopback(url.host),  # a proxy is for the world, not for a service on this machine
            timeout=timeout_s,
            headers=bearer(api_key, "the API key"),
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
        )

    async def score(self, request: ScoreRequest, *, rescore_s: float = 0.0) -> ScoreResponse:
        """Results in the order of the samples, whatever their number. Raises ServiceUnavailable, RequestRejected.

        With `rescore_s`, samples that come back unscored with a `retry_after_s` are asked for again, they alone, as
        long as that ends within so many seconds; each time they are counted as asked. What remains stays unscored.
        """
        request = request.model_copy(update={"request_id": request.request_id or uuid.uuid4().hex})
        answer = await self._score(request)
        ends = self._patience.clock() + rescore_s
        for turn in itertools.count(1):
            again = {
                place: result.error.retry_after_s
                for place, result in enumerate(answer.results)
                if isinstance(result, Unscored) and result.error.retry_after_s is not None
            }
            pause = max(FIRST_PAUSE_S, *again.values()) if again else 0.0
            if not again or self._patience.clock() + pause > ends:
                break
            await self._patience.sleep(pause)
            newer = await self._score(make_part(request, [request.samples[place] for place in again], f"again {turn}"))
            results = dict(enumerate(answer.results)) | dict(zip(again, newer.results, strict=True))
            answer = ScoreResponse(results=list(results.values()), usage=add_usage([answer.usage, newer.usage]))
        return answer

    async def stats(self, run: str | None = None, since: datetime | None = None) -> Stats:
        """Of all runs or of one; of all time or from `since` on, which names its zone."""
        params = {"run": run} if run else {}
        if since is not None:
            params["since"] = since.isoformat()
        return await self._patience.persist(lambda: self._send(Stats, "GET", "/stats", params=params))

    async def marks(self, key: str, profile: str | None = None) -> KeptMarks:
        """What the book has of a sample, by the key of its result. Raises RequestRejected (404) if it has nothing."""
        params = {"key": key, **({"profile": profile} if profile else {})}
        return await self._patience.persist(lambda: self._send(KeptMarks, "GET", "/marks", params=params))

    async def ready(self) -> bool:
        """Whether the service is up and its store answers, now."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.RequestError:
            return False

    def patient(self, wait_s: float, tell: Tell) -> Self:
        """The same client, sharing its connections, that waits for the service for so long and tells of it."""
        other = copy.copy(self)
        other._patience = replace(self._patience, wait_s=wait_s, tell=tell)
        return other

    async def close(self) -> None:
        await self._http.aclose()

    async def _score(self, request: ScoreRequest) -> ScoreResponse:
        tasks = [asyncio.create_task(self._ask(part)) for part in split(request, self._limits)]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # when one failed, or the caller went away
                task.cancel()
        return ScoreResponse(
            results=[result for answer in answers for result in answer.results],
            usage=add_usage([answer.usage for answer in answers]),
        )

    async def _ask(self, part: ScoreRequest) -> ScoreResponse:
        body, headers = part.model_dump_json(), {"Content-Type": "application/json"}
        return await self._patience.persist(
            lambda: self._send(ScoreResponse, "POST", "/score", content=body, headers=headers)
        )

    async def _send(self, model: type[M], method: str, path: str, **request: Any) -> M:
        """One attempt."""
        try:
            async with self._slots:
                response = await self._http.request(method, path, **request)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise ServiceUnavailable(f"the scoring service at {self._shown} did not answer: {reason}") from error
        return read(model, response, self._shown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()


class ScoringClient:
    """The same, synchronous, safe to share between threads: the async client in a thread of its own.

    Ctrl-C ends a call at once, and the requests it waits for.
    """

    def __init__(self, base_url: str, **options: Unpack[Options]) -> None:
        self._client = AsyncScoringClient(base_url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scoring client", daemon=True)
        self._thread.start()

    def score(self, request: ScoreRequest, *, rescore_s: float = 0.0) -> ScoreResponse:
        return self._run(self._client.score(request, rescore_s=rescore_s))

    def stats(self, run: str | None = None, since: datetime | None = None) -> Stats:
        return self._run(self._client.stats(run, since))

    def marks(self, key: str, profile: str | None = None) -> KeptMarks:
        return self._run(self._client.marks(key, profile))

    def ready(self) -> bool:
        return self._run(self._client.ready())

    def patient(self, wait_s: float, tell: Tell) -> Self:
        other = copy.copy(self)
        other._client = self._client.patient(wait_s, tell)
        return other

    def close(self) -> None:
        """Calls that other threads still wait for are cancelled."""
        if self._thread.is_alive():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C came while it waited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bearer(key: str | None, name: str) -> dict[str, str]:
    """The header that carries `key`, without the end of the line that a file may have left on it.

    Raises ClientError for what no header can carry: sent all the same, it would be quoted in an error.
    """
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise ClientError(f"{name} holds controls or letters beyond ASCII, as no key does: copy it anew")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _address(base_url: str) -> httpx.URL:
    shown = hide_secrets(base_url)
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ClientError(f"{shown} is no address of a service ({error}): it looks like http://HOST:8000") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError(f"{shown} is no address of a service: it looks like http://HOST:8000")
    return url
