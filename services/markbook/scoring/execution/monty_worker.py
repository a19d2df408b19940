"""The process in which Monty's values are read: it dies rather than run away with the service.

A value can be small where it was made and endless where it is read: a tuple that holds one tuple
twice, forty times over, has 2**40 parts to hash. One JSON line in, `{"code", "tests", "setup",
"limits"}`; one out per test, `[verdict, message]`, or `{"unavailable": why}` and nothing more. It
ends when its input does.
"""

from __future__ import annotations

import json
import resource
import signal
import sys

from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution.monty_sample import MontyInterpreter
from markbook.scoring.execution.types import Limits, TestResult, Verdict

READY = "ready"
EXTRA_BYTES = 512 * 1024 * 1024
"""Address space above four times a sample's own memory: a new worker has taken some 190 MiB."""
EXTRA_S = 3.0
"""Seconds of CPU above a test's own time: comparing two values of a million parts takes about
one.
"""


def main() -> None:
    """Run the tests of one sample after the other until the input ends."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the service closes the input
    try:
        interpreter = MontyInterpreter()
    except ExecutionUnavailableError as error:
        _answer({"unavailable": error.detail})
        return
    _answer(READY)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        limits = Limits(**asked["limits"])
        _limit_memory(limits)
        try:
            results = interpreter.run(asked["code"], asked["tests"], asked["setup"], limits)
            for _ in asked["tests"]:
                signal.setitimer(
                    signal.ITIMER_PROF, limits.test_s + EXTRA_S
                )  # SIGPROF, handled by no one, ends it
                _answer(_plain(next(results)))
        except ExecutionUnavailableError as error:
            _answer({"unavailable": error.detail})
        except MemoryError:
            _answer(
                _plain(
                    TestResult(
                        Verdict.OUT_OF_MEMORY, "its values take too much memory to be compared"
                    )
                )
            )
            return  # nothing holds what is left of them: the next sample gets a new process
        except Exception as error:  # noqa: BLE001 - a fault of ours is no verdict, and concerns this sample alone
            _hand_over(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory(limits: Limits) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (EXTRA_BYTES + 4 * limits.memory_bytes, hard))


def _plain(result: TestResult) -> list[str]:
    return [result.verdict.value, result.message]


def _answer(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _hand_over(error: Exception) -> None:
    _answer({"unavailable": f"the Monty sandbox failed: {type(error).__name__}: {error}"[:1000]})
