"""The client for asyncio.

It does the work; the synchronous client runs it in a background thread.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from markbook.client.batching import add_usage, batch_path, make_part, split
from markbook.client.connection import resolve_authorization, resolve_url, transport_options
from markbook.client.errors import RequestRejectedError, ServiceUnavailableError, read
from markbook.client.retry import FIRST_PAUSE_S, OnFailure, RetryPolicy
from markbook.client.run_metrics import MetricLike, make_report, metrics_path
from markbook.client.samples import SampleLike, list_tests, make_request
from markbook.config.settings import Service
from markbook.contract import (
    DEFAULT_RUN,
    Batch,
    KeptMarks,
    Result,
    RunMetrics,
    ScoreRequest,
    ScoreResponse,
    Stats,
    StoredMetrics,
    Unscored,
)
from markbook.redaction import hide_secrets

KEEP_ALIVE_S = 3.0
"""Seconds that an idle connection is used again: the service closes it after 5, which a request
should not meet.
"""

M = TypeVar("M", bound=BaseModel)


class AsyncScoringClient:
    """Scores code through a running service, for one event loop.

    Use it as an async context manager.

    Args:
        base_url: `http://HOST:PORT` of the service. Without it `$MARKBOOK_URL`, else
        http://127.0.0.1:8000. timeout_s: Seconds that one attempt waits for the service to connect,
        and to send more of its answer. An attempt
            that times out is sent again like any other that failed.
        api_key: Sent as `Authorization: Bearer`. Without it `$MARKBOOK_API_KEY`; "" sends none.
        retry_policy: How long failed requests are sent again, by default for 60 seconds.
        `RetryPolicy(0)`: never. max_in_flight: HTTP requests at the same time, of all calls
        together. More wait for their turn. limits: The service's section of config.yaml where its
        limits are not the default ones. A call is split by
            `max_samples_per_request` and `max_body_bytes`.

    Raises:
        ClientError: The address or the key cannot be used.

    Retries are safe: a request is sent again unchanged with its `request_id`, so the service counts
    it once, and what it has scored already comes from its cache. Any number of tasks of the same
    event loop may share a client.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout_s: float = 180.0,
        api_key: str | None = None,
        retry_policy: RetryPolicy | None = None,
        max_in_flight: int = 16,
        limits: Service | None = None,
    ) -> None:
        url = resolve_url(base_url)
        self.base_url = str(url)
        self._shown = hide_secrets(self.base_url)
        self._retry_policy = retry_policy or RetryPolicy()
        self._limits = limits or Service()
        self._slots = asyncio.Semaphore(max_in_flight)
        self._http = httpx.AsyncClient(
            base_url=url,
            **transport_options(url.host),
            timeout=timeout_s,
            headers=resolve_authorization(api_key),
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
        )

    async def score(
        self,
        *,
        prompt: str,
        code: str,
        language: str,
        tests: Iterable[str] = (),
        test_setup: str = "",
        run: str = DEFAULT_RUN,
        timeout_s: float | None = None,
        rescore_s: float = 0.0,
    ) -> Result:
        """Score one sample.

        Args:
            prompt: The whole task.
            code: The raw completion; the service finds the code in it.
            language: `python`, `c++`, `rs`, and so on.
            tests: Python statements, each one test: it passes unless it raises.
            test_setup: Python statements before each test.
            run: The name under which the service counts the sample and keeps its budget.
            timeout_s: Seconds after which the service answers `deadline` instead of a score.
            rescore_s: As for `score_many`.

        Returns:
            Scored with `score` in [0, 1], or Unscored with `error.code`, `error.detail` and, where
            waiting helps, `error.retry_after_s` in seconds. An Unscored has the score None: check
            `result.status`, and leave the sample out instead of assuming a number.

        Raises:
            As `score_many`.
        """
        sample = {"prompt": prompt, "code": code, "language": language, "test_setup": test_setup}
        results = await self.score_many(
            [{**sample, "tests": list_tests(tests)}],
            run=run,
            timeout_s=timeout_s,
            rescore_s=rescore_s,
        )
        return results[0]

    async def score_many(
        self,
        samples: Iterable[SampleLike],
        *,
        run: str = DEFAULT_RUN,
        request_id: str | None = None,
        timeout_s: float | None = None,
        rescore_s: float = 0.0,
    ) -> list[Result]:
        """Score any number of samples, each a Sample or a mapping with the fields of one.

        What exceeds the service's limits is sent as several requests, up to `max_in_flight` at the
        same time. All samples of one prompt that are scored together share the cost of its teacher
        calls.

        Args:
            samples: What to score.
            run: The name under which the service counts the samples and keeps their budget.
            request_id: Repeat it when the same samples are sent again by another process, so that
                they are counted once. Without it each call has its own.
            timeout_s: Seconds after which the service answers `deadline` for what has no score yet,
            per HTTP request. rescore_s: Seconds within which samples that came back Unscored with a
            `retry_after_s` are sent again.

        Returns:
            One result per sample, in the order of the samples: Scored, or Unscored with a reason,
            never a default.

        Raises:
            InvalidRequestError: A field is missing, wrong or unknown. Nothing was sent.
            ServiceUnavailableError: No answer for as long as the retry policy waits.
            RequestRejectedError: The service refused, such as a wrong key (`status` 401) or too
            large a sample (413).
        When one of several requests fails, the others are cancelled; what they scored is in the
        service's cache. Cancelling the call cancels its requests.
        """
        request = make_request(samples, run=run, request_id=request_id, timeout_s=timeout_s)
        return (await self.score_request(request, rescore_s=rescore_s)).results

    async def score_request(
        self, request: ScoreRequest, *, rescore_s: float = 0.0
    ) -> ScoreResponse:
        """As `score_many`, with the models of the wire: the response has the results and what they
        cost, `usage`.

        With `rescore_s`, samples that come back Unscored with a `retry_after_s` are sent again,
        they alone, as long as that ends within so many seconds; each time they are counted. What
        remains stays Unscored.
        """
        request = request.model_copy(update={"request_id": request.request_id or uuid.uuid4().hex})
        answer = await self._score(request)
        ends = self._retry_policy.clock() + rescore_s
        for turn in itertools.count(1):
            again = {
                place: result.error.retry_after_s
                for place, result in enumerate(answer.results)
                if isinstance(result, Unscored) and result.error.retry_after_s is not None
            }
            pause = max(FIRST_PAUSE_S, *again.values()) if again else 0.0
            if not again or self._retry_policy.clock() + pause > ends:
                break
            await self._retry_policy.sleep(pause)
            newer = await self._score(
                make_part(request, [request.samples[place] for place in again], f"again {turn}")
            )
            results = dict(enumerate(answer.results)) | dict(zip(again, newer.results, strict=True))
            answer = ScoreResponse(
                results=list(results.values()), usage=add_usage([answer.usage, newer.usage])
            )
        return answer

    async def submit_batch(
        self,
        samples: Iterable[SampleLike],
        *,
        run: str = DEFAULT_RUN,
        request_id: str | None = None,
    ) -> Batch:
        """Have samples scored at half the price within a day.

        Returns at once: the `id` is for `get_batch`.

        They are one request: more than `service.max_samples_per_batch` are refused. Raises as
        `score_many`.
        """
        request = make_request(
            samples, run=run, request_id=request_id or uuid.uuid4().hex, batch=True
        )
        body, headers = request.model_dump_json(), {"Content-Type": "application/json"}
        return await self._retry_policy.run(
            lambda: self._send(Batch, "POST", "/score", content=body, headers=headers)
        )

    async def get_batch(self, batch: str) -> Batch:
        """A batch by its id; once its `state` is `ended` it has `results`.

        Raises RequestRejectedError (404).
        """
        return await self._retry_policy.run(lambda: self._send(Batch, "GET", batch_path(batch)))

    async def stats(self, run: str | None = None, since: datetime | None = None) -> Stats:
        """Counts and costs of all runs or of `run`, of all time or from `since` on, which has a
        time zone.

        Raises ServiceUnavailableError and RequestRejectedError, as `score_many`.
        """
        params = {"run": run} if run else {}
        if since is not None:
            params["since"] = since.isoformat()
        return await self._retry_policy.run(
            lambda: self._send(Stats, "GET", "/stats", params=params)
        )

    async def report_metrics(
        self, metrics: Mapping[str, MetricLike], *, step: int, run: str = DEFAULT_RUN
    ) -> None:
        """Report figures of `run` after one of its steps, such as an evaluation, for the service's
        dashboard.

        It draws `mark` and `pass_at_1`, in [0, 1]. A value is a number, or a mapping of `value`,
        `low` and `high`. Raises InvalidRequestError, ServiceUnavailableError, RequestRejectedError.
        """
        body, path = (
            make_report(step, metrics).model_dump_json(exclude_none=True),
            metrics_path(run),
        )
        headers = {"Content-Type": "application/json"}
        await self._retry_policy.run(
            lambda: self._send(StoredMetrics, "POST", path, content=body, headers=headers)
        )

    async def run_metrics(self, run: str) -> RunMetrics:
        """What was reported about `run`, by step and name; an empty list where nothing was."""
        path = metrics_path(run)
        return await self._retry_policy.run(lambda: self._send(RunMetrics, "GET", path))

    async def marks(self, key: str, profile: str | None = None) -> KeptMarks:
        """What is stored of a sample, by the `key` of its result.

        Raises RequestRejectedError (404) if nothing is.
        """
        params = {"key": key, **({"profile": profile} if profile else {})}
        return await self._retry_policy.run(
            lambda: self._send(KeptMarks, "GET", "/marks", params=params)
        )

    async def ready(self) -> bool:
        """Whether the service is up and its store answers, now: one attempt of at most
        `timeout_s`.
        """
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.RequestError:
            return False

    def with_retries(self, wait_s: float, on_failure: OnFailure) -> Self:
        """The same client, sharing its connections, with another `wait_s` and `on_failure` (see
        RetryPolicy).

        Closing either closes both.
        """
        other = copy.copy(self)
        other._retry_policy = replace(self._retry_policy, wait_s=wait_s, on_failure=on_failure)
        return other

    async def close(self) -> None:
        """Close the connections. Await or cancel what still runs before that."""
        await self._http.aclose()

    async def _score(self, request: ScoreRequest) -> ScoreResponse:
        tasks = [asyncio.create_task(self._ask(part)) for part in split(request, self._limits)]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # when one failed, or the caller went away
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # their connections are free again
        return ScoreResponse(
            results=[result for answer in answers for result in answer.results],
            usage=add_usage([answer.usage for answer in answers]),
        )

    async def _ask(self, part: ScoreRequest) -> ScoreResponse:
        body, headers = part.model_dump_json(), {"Content-Type": "application/json"}
        answer = await self._retry_policy.run(
            lambda: self._send(ScoreResponse, "POST", "/score", content=body, headers=headers)
        )
        if len(answer.results) != len(part.samples):  # a score would go to another sample
            detail = (
                f"{self._shown} sent {len(answer.results)} results for {len(part.samples)} samples"
            )
            raise RequestRejectedError(200, "not_markbook", detail)
        return answer

    async def _send(self, model: type[M], method: str, path: str, **request: Any) -> M:
        """One attempt."""
        try:
            async with self._slots:
                response = await self._http.request(method, path, **request)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise ServiceUnavailableError(
                f"the scoring service at {self._shown} did not answer: {reason}"
            ) from error
        return read(model, response, self._shown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()
