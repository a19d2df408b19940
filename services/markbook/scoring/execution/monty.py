"""The default sandbox: Monty, a Python interpreter without files or network, in worker
processes.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution.monty_sample import MontyInterpreter
from markbook.scoring.execution.monty_worker import EXTRA_S, READY
from markbook.scoring.execution.process_group import end_group
from markbook.scoring.execution.types import Limits, TestResult, Verdict, not_run

WORKER_TIMEOUT_S = 60.0
"""Wall-clock seconds for a worker to start, or above a test's own limit, before it counts as
hung.
"""

_log = logging.getLogger(__name__)


def check_monty() -> None:
    """Start and end Monty. Raises ExecutionUnavailableError when it does not start."""
    MontyInterpreter().close()


class MontySandbox:
    """Runs at most `workers` samples at a time, each in a process of its own (about 50 MB), started
    on demand.

    `run` raises ExecutionUnavailableError when Monty does not start; `check_monty` shows that
    beforehand.
    """

    name = "monty"

    def __init__(self, workers: int) -> None:
        self._closed = False
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._end_workers = weakref.finalize(self, _end, self._slots)

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        results: list[TestResult] = []
        left_s, crashed_at = limits.total_s, -1
        while len(results) < len(tests):
            if results and left_s <= 0:
                return results + [not_run(limits.total_s)] * (len(tests) - len(results))
            with self._worker() as worker:  # one that died is replaced
                started = time.monotonic()
                rest = replace(limits, total_s=max(0.0, left_s))
                results += worker.ask(code, tests[len(results) :], setup, rest)
                left_s -= time.monotonic() - started
                if len(results) == len(tests):
                    break
                died_of, number = worker.end(), len(results)
            if died_of == -signal.SIGPROF:
                late = f"its values were not read within {limits.test_s + EXTRA_S:g} s"
                results.append(TestResult(Verdict.TIMED_OUT, late))
            elif crashed_at == number:  # twice: the code causes it
                results.append(TestResult(Verdict.FAILED, "the interpreter crashed"))
            crashed_at = number
        return results

    def close(self) -> None:
        """Stop idle processes now and busy ones when they are done."""
        self._closed = True
        self._end_workers()

    @contextmanager
    def _worker(self) -> Iterator[_Worker]:
        """An exclusive worker for the duration of the context.

        It is kept unless something was raised.
        """
        worker = self._slots.get()
        is_kept = False
        try:
            if self._closed:
                raise ExecutionUnavailableError("the Monty sandbox is closed")
            if worker is None:
                worker = _Worker()
            yield worker
            is_kept = not (worker.has_ended or self._closed)
        finally:
            if worker is not None and not is_kept:
                worker.end()
            self._slots.put(worker if is_kept else None)


def _end(slots: queue.LifoQueue[_Worker | None]) -> None:
    """Stop the workers in `slots` and free their slots for waiting callers."""
    taken: list[_Worker | None] = []
    with suppress(queue.Empty):
        while True:
            taken.append(slots.get_nowait())
    for worker in taken:
        if worker is not None:
            worker.end()
        slots.put(None)


class _Worker:
    """A process running `monty_worker.py`.

    Raises ExecutionUnavailableError when it does not start.
    """

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from markbook.scoring.execution.monty_worker import main; main()",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError as error:
            raise ExecutionUnavailableError(f"the Monty sandbox does not start: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._data = b""
        self.has_ended = False
        """Whether `end` was called. One that died by itself is noticed at the next request."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        os.set_blocking(self._output.fileno(), False)
        answer = self._read_line(WORKER_TIMEOUT_S)
        if answer != READY:
            self.end()
            reason = (
                answer["unavailable"] if isinstance(answer, dict) else "its process exited at once"
            )
            raise ExecutionUnavailableError(reason)

    def ask(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        """The results of as many tests as it completes before it dies, if it does.

        Raises ExecutionUnavailableError.
        """
        asked = {"code": code, "tests": list(tests), "setup": setup, "limits": asdict(limits)}
        with suppress(BrokenPipeError):  # it is dead; the end of its output shows that too
            self._input.write(json.dumps(asked).encode() + b"\n")
            self._input.flush()
        results: list[TestResult] = []
        while (
            len(results) < len(tests)
            and (answer := self._read_line(limits.test_s + WORKER_TIMEOUT_S)) is not None
        ):
            if isinstance(answer, dict):
                raise ExecutionUnavailableError(answer["unavailable"])
            verdict, message = answer
            results.append(TestResult(Verdict(verdict), message))
        return results

    def end(self) -> int:
        """Kill the process and Monty's own, its child, unless they have exited; returns the exit
        code.
        """
        if self.has_ended:
            return self._process.wait()
        self.has_ended = True
        with suppress(BrokenPipeError):
            self._input.close()
        ended_with = end_group(self._process)
        self._selector.close()
        self._output.close()
        return ended_with

    def _read_line(self, timeout_s: float) -> Any:
        """Its next message, None once it is dead.

        Raises ExecutionUnavailableError after `timeout_s` without one.
        """
        ends = time.monotonic() + timeout_s
        while b"\n" not in self._data:
            if not self._selector.select(max(0.0, ends - time.monotonic())):
                _log.error("Monty worker did not reply within %g s and was killed", timeout_s)
                raise ExecutionUnavailableError(
                    f"the Monty sandbox did not reply within {timeout_s:g} s"
                )
            if not (chunk := self._output.read(1 << 16)):
                return None
            self._data += chunk
        line, self._data = self._data.split(b"\n", 1)
        return json.loads(line)
