"""Marks from the scoring service: a request a group, in the background, patient while the service is away."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from shared.client import ScoringClient, ServiceUnavailable
from shared.config import ConfigError
from shared.contract import Counters, Result, ScoreRequest, Stats
from shared.contract import Sample as WireSample
from shared.settings import SERVICE_OWNED, Rlaif
from trainer.policy import Sample

MAX_IN_FLIGHT = 16
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0

T = TypeVar("T")


class GaveUp(Exception):
    """The service was away for longer than `rlaif.service_wait_s`."""


class Marker:
    """Asks for marks. Safe to use from one training thread; its own threads wait for the answers."""

    def __init__(
        self,
        client: ScoringClient,
        wait_s: float,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._wait_s = wait_s
        self._say = say
        self._sleep = sleep
        self._slots = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._lock = threading.Lock()
        self._away = False

    def submit(self, run: str, samples: Sequence[Sample]) -> Future[list[Result]]:
        """Ask for the marks of one group; the results keep its order.

        The future raises GaveUp, or RequestRejected where asking again would not help.
        """
        future: Future[list[Result]] = Future()

        def work() -> None:
            with self._slots:
                try:
                    future.set_result(self._ask(run, samples))
                except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
                    future.set_exception(error)

        # a daemon: Ctrl-C need not wait for a teacher's answer, which the service keeps anyway
        threading.Thread(target=work, name="marker", daemon=True).start()
        return future

    def stats(self, run: str | None = None) -> Stats:
        return self.patiently(lambda: self._client.stats(run))

    def counters(self, run: str) -> Counters:
        """What the service has counted under `run` so far."""
        return self.stats(run).runs.get(run, Counters())

    def patiently(self, ask: Callable[[], T]) -> T:
        """`ask`, again and again while the service is away, for at most `wait_s`. Raises GaveUp, RequestRejected."""
        first_failure: float | None = None
        pause = _FIRST_PAUSE_S
        while True:
            try:
                answer = ask()
            except ServiceUnavailable as error:
                now = time.monotonic()
                first_failure = now if first_failure is None else first_failure
                left = first_failure + self._wait_s - now
                if left <= 0:
                    raise GaveUp(f"{error}; gave up after rlaif.service_wait_s ({self._wait_s:g} s)") from error
                self._note(True, f"{error}; asking again for up to {self._wait_s:g} s")
                self._sleep(min(left, max(pause, error.retry_after_s or 0.0)))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._note(False, "the scoring service answers again")
                return answer

    def _ask(self, run: str, samples: Sequence[Sample]) -> list[Result]:
        wire = [WireSample(prompt=s.task.prompt, language=s.task.language, code=s.text) for s in samples]
        # one id for all attempts, so that the service counts them once
        request = ScoreRequest(run=run, request_id=uuid.uuid4().hex, samples=wire)
        return self.patiently(lambda: self._client.score(request)).results

    def _note(self, away: bool, line: str) -> None:
        """One line when the service goes away, one when it is back, however many groups wait."""
        with self._lock:
            changed, self._away = away != self._away, away
        if changed:
            self._say(line)


def check_policy(rlaif: Rlaif, stats: Stats) -> None:
    """Raise ConfigError where this file and the service disagree about how marks are made."""
    for key in SERVICE_OWNED:
        ours = getattr(rlaif, key)
        if key in stats.policy and stats.policy[key] != ours:
            raise ConfigError(
                f"rlaif.{key} is {ours} here and {stats.policy[key]} at the service, whose value is in force: "
                "give both processes the same file"
            )
