"""Reports a run's evaluations to the scoring service, whose dashboard draws them.

Training never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait

from markbook.client import ClientError, ScoringClient
from markbook.trainer.monitoring.evaluation import Evaluation, reported_metrics

WAIT_S = 10.0
"""Seconds that a report is retried, and that the end of a run waits for its last one."""


class EvaluationReporter:
    """Sends reports in the client's background thread.

    A report that fails is one log line, and nothing else.
    """

    def __init__(self, client: ScoringClient, log: Callable[[str], None]) -> None:
        self._client = client.with_retries(WAIT_S, lambda _: None)
        self._log = log
        self._pending: set[Future[None]] = set()

    def submit(self, run: str, step: int, evaluation: Evaluation) -> None:
        """Report the evaluation of `run` after `step`; of one without any mark, nothing."""
        metrics = reported_metrics(evaluation)
        if not metrics:
            return

        def settle(future: Future[None]) -> None:
            self._pending.discard(future)
            if not future.cancelled() and (error := future.exception()) is not None:
                self._log(_failed(step, error))

        try:
            future = self._client.submit_metrics(metrics, step=step, run=run)
        except ClientError as error:
            self._log(_failed(step, error))
            return
        self._pending.add(future)
        future.add_done_callback(settle)

    def close(self) -> None:
        """Wait for reports in progress, for at most WAIT_S seconds."""
        late = wait(list(self._pending), WAIT_S).not_done
        for future in late:
            future.cancel()
        if late:
            self._log(
                "the scoring service did not answer the report of an evaluation; it is not on its "
                "dashboard"
            )


def _failed(step: int, error: BaseException) -> str:
    return f"the evaluation after step {step} is not on the service's dashboard: {error}"
