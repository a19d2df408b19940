"""The synchronous client, which any number of threads may share."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack

from markbook.client.async_client import AsyncScoringClient
from markbook.client.event_loop_thread import BackgroundLoop
from markbook.client.options import Options
from markbook.client.retry import OnFailure
from markbook.client.run_metrics import MetricLike
from markbook.client.samples import SampleLike, make_request
from markbook.contract import (
    DEFAULT_RUN,
    Batch,
    KeptMarks,
    Result,
    RunMetrics,
    ScoreRequest,
    ScoreResponse,
    Stats,
)


class ScoringClient:
    """Scores code through a running service. Use it as a context manager; threads may share it.

    Takes the arguments of AsyncScoringClient, which it runs in one background thread: `base_url`
    (without it `$MARKBOOK_URL`, else http://127.0.0.1:8000), `timeout_s`, `api_key` (without it
    `$MARKBOOK_API_KEY`), `retry_policy`, `max_in_flight`, `limits`. Raises ClientError where the
    address or the key cannot be used.

    Ctrl-C ends a waiting call at once and cancels its requests. A client belongs to the process
    that opened it: open another after a fork. Every method but `close` raises RuntimeError after
    `close`.
    """

    def __init__(self, base_url: str | None = None, **options: Unpack[Options]) -> None:
        self._client = AsyncScoringClient(base_url, **options)
        self._background = BackgroundLoop("scoring client")

    def score(
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
        return self._background.run(
            self._client.score(
                prompt=prompt,
                code=code,
                language=language,
                tests=tests,
                test_setup=test_setup,
                run=run,
                timeout_s=timeout_s,
                rescore_s=rescore_s,
            )
        )

    def score_many(
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
            large a sample (413). concurrent.futures.CancelledError: Another thread closed the
            client.
        When one of several requests fails, the others are cancelled; what they scored is in the
        service's cache.
        """
        request = make_request(samples, run=run, request_id=request_id, timeout_s=timeout_s)
        return self.score_request(request, rescore_s=rescore_s).results

    def submit(
        self,
        samples: Iterable[SampleLike],
        *,
        run: str = DEFAULT_RUN,
        request_id: str | None = None,
        timeout_s: float | None = None,
        rescore_s: float = 0.0,
    ) -> Future[list[Result]]:
        """Start `score_many` and return at once. `future.result()` returns or raises what it would.

        Raises InvalidRequestError at once. Cancelling the future cancels its requests, and `close`
        cancels every future that is not done. Its callbacks run in the client's thread: they must
        not block or call this client.
        """
        request = make_request(samples, run=run, request_id=request_id, timeout_s=timeout_s)
        return self._background.submit(self._results(request, rescore_s))

    def score_request(self, request: ScoreRequest, *, rescore_s: float = 0.0) -> ScoreResponse:
        """As `score_many`, with the models of the wire: the response has the results and what they
        cost, `usage`.

        With `rescore_s`, samples that come back Unscored with a `retry_after_s` are sent again,
        they alone, as long as that ends within so many seconds; each time they are counted. What
        remains stays Unscored.
        """
        return self._background.run(self._client.score_request(request, rescore_s=rescore_s))

    def submit_batch(
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
        return self._background.run(
            self._client.submit_batch(samples, run=run, request_id=request_id)
        )

    def get_batch(self, batch: str) -> Batch:
        """A batch by its id; once its `state` is `ended` it has `results`.

        Raises RequestRejectedError (404).
        """
        return self._background.run(self._client.get_batch(batch))

    def stats(self, run: str | None = None, since: datetime | None = None) -> Stats:
        """Counts and costs of all runs or of `run`, of all time or from `since` on, which has a
        time zone.

        Raises ServiceUnavailableError and RequestRejectedError, as `score_many`.
        """
        return self._background.run(self._client.stats(run, since))

    def report_metrics(
        self, metrics: Mapping[str, MetricLike], *, step: int, run: str = DEFAULT_RUN
    ) -> None:
        """Report figures of `run` after one of its steps, such as an evaluation, for the service's
        dashboard.

        It draws `mark` and `pass_at_1`, in [0, 1]. A value is a number, or a mapping of `value`,
        `low` and `high`. Raises InvalidRequestError, ServiceUnavailableError, RequestRejectedError.
        """
        self._background.run(self._client.report_metrics(metrics, step=step, run=run))

    def submit_metrics(
        self, metrics: Mapping[str, MetricLike], *, step: int, run: str = DEFAULT_RUN
    ) -> Future[None]:
        """Start `report_metrics` and return at once, as `submit` does."""
        return self._background.submit(self._client.report_metrics(metrics, step=step, run=run))

    def run_metrics(self, run: str) -> RunMetrics:
        """What was reported about `run`, by step and name; an empty list where nothing was."""
        return self._background.run(self._client.run_metrics(run))

    def marks(self, key: str, profile: str | None = None) -> KeptMarks:
        """What is stored of a sample, by the `key` of its result.

        Raises RequestRejectedError (404) if nothing is.
        """
        return self._background.run(self._client.marks(key, profile))

    def ready(self) -> bool:
        """Whether the service is up and its store answers, now: one attempt of at most
        `timeout_s`.
        """
        return self._background.run(self._client.ready())

    def with_retries(self, wait_s: float, on_failure: OnFailure) -> Self:
        """The same client, sharing thread and connections, with another `wait_s` and `on_failure`
        (see RetryPolicy).

        Closing either closes both.
        """
        other = copy.copy(self)
        other._client = self._client.with_retries(wait_s, on_failure)
        return other

    def close(self) -> None:
        """Cancel what other threads still wait for, close the connections, end the thread.

        Again: does nothing.
        """
        self._background.close(self._client.close)

    async def _results(self, request: ScoreRequest, rescore_s: float) -> list[Result]:
        return (await self._client.score_request(request, rescore_s=rescore_s)).results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
