"""Marks from the scoring service: one request per group, in the background, retried while the
service is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from markbook.client import ScoringClient, ServiceUnavailableError
from markbook.config.loading import ConfigError
from markbook.config.settings import SERVICE_OWNED, Rlaif
from markbook.contract import Counters, Result, Stats
from markbook.contract import Sample as WireSample
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.run_dir import evaluation_run
from markbook.trainer.types import Sample


class RewardClient:
    """Requests scores for groups of samples.

    The client's background thread waits for them while the run samples on.
    """

    def __init__(self, client: ScoringClient, wait_s: float, log: Callable[[str], None]) -> None:
        self._client = client.with_retries(wait_s, self._note)
        self._wait_s = wait_s
        self._say = log
        self._lock = threading.Lock()
        self._away = False

    def submit(
        self, run: str, samples: Sequence[Sample], request_id: str | None = None
    ) -> Future[list[Result]]:
        """Ask for the marks of one group; the results keep its order.

        The same `request_id` is counted once.

        The future raises ServiceTimeoutError, or RequestRejectedError where a retry would not help.
        Closing the client cancels it: Ctrl-C need not wait for a teacher's answer, which the
        service keeps anyway.
        """
        future: Future[list[Result]] = Future()

        def settle(asked: Future[list[Result]]) -> None:
            if asked.cancelled():
                future.cancel()
            elif error := asked.exception():
                future.set_exception(self._translate(error))
            else:
                future.set_result(asked.result())

        wire = [_wire(sample) for sample in samples]
        self._client.submit(wire, run=run, request_id=request_id).add_done_callback(settle)
        return future

    def stats(self, run: str | None = None) -> Stats:
        """The service's counts of `run`, or of all runs.

        Raises ServiceTimeoutError, RequestRejectedError.
        """
        try:
            return self._client.stats(run)
        except ServiceUnavailableError as error:
            raise self._translate(error) from error

    def check_access(self, run: str, eval_tasks: str | None) -> Stats:
        """The service's counts of `run`. Raises RequestRejectedError where the API key may not use
        it, or its evaluations: before a model is loaded and samples are generated for minutes.
        """
        stats = self.stats(run)
        if eval_tasks:
            self.stats(evaluation_run(run))
        return stats

    def counters(self, run: str) -> Counters:
        """What the service has counted under `run` so far."""
        return self.stats(run).runs.get(run, Counters())

    def _translate(self, error: BaseException) -> BaseException:
        """The trainer's error for a service that stayed away; any other as it is."""
        if not isinstance(error, ServiceUnavailableError):
            return error
        gave_up = ServiceTimeoutError(
            f"{error}; gave up after rlaif.service_wait_s ({self._wait_s:g} s)"
        )
        gave_up.__cause__ = error
        return gave_up

    def _note(self, failure: ServiceUnavailableError | None) -> None:
        """One line when the service goes away, one when it is back, however many groups wait."""
        with self._lock:
            changed, self._away = self._away != (failure is not None), failure is not None
        if changed and failure is not None:
            self._say(f"{failure}; retrying for up to {self._wait_s:g} s (rlaif.service_wait_s)")
        elif changed:
            self._say("the scoring service answers again")


def _wire(sample: Sample) -> WireSample:
    task = sample.task
    return WireSample(
        prompt=task.prompt,
        language=task.language,
        code=sample.text,
        tests=list(task.tests),
        test_setup=task.test_setup,
    )


def check_policy(rlaif: Rlaif, stats: Stats) -> None:
    """Raise ConfigError where this file and the service disagree about how marks are made."""
    for key in SERVICE_OWNED:
        ours = getattr(rlaif, key)
        if key in stats.policy and stats.policy[key] != ours:
            raise ConfigError(
                f"rlaif.{key} is {ours} here and {stats.policy[key]} at the service, whose value "
                "applies: give both processes the same file"
            )
