"""The two processes of the demo: started apart from the terminal, so that one Ctrl-C stops them
in the right order.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from markbook.client import ScoringClient
from markbook.errors import MarkbookError

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
_TAIL_LINES = 15


class DemoError(MarkbookError):
    """The demo cannot continue. The message has the cause and what to look at."""


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP: the first is passed on as a Ctrl-C to the process at work, a
    second one ends it.

    Nothing is raised, so that no signal can arrive between starting a process and knowing of it.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str]) -> int:
        """Run `command` with its output shown.

        Returns its exit code, 128 + the signal where a signal ended it.
        """
        # the file that the command is given names the service of the demo, not the one that the
        # user has elsewhere
        environment = {name: value for name, value in os.environ.items() if name != "MARKBOOK_URL"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
        )
        if self.received:  # it came while the process was being started
            self._process.send_signal(signal.SIGINT)
        code = self._process.wait()
        self._process = None
        return code if code >= 0 else 128 - code

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        first, self.received = self.received is None, number
        if self._process:
            self._process.send_signal(signal.SIGINT if first else signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def service(
    config: Path, database_url: str, port: int, log: Path, cancelled: Callable[[], bool]
) -> Iterator[str]:
    """The scoring service as a process, for as long as the block runs: yields its address once it
    is ready.

    Raises DemoError with the end of its log when it dies or is not ready in time. `cancelled`: stop
    waiting for it.
    """
    command = [
        sys.executable,
        "-m",
        "markbook.scoring",
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "MARKBOOK_DATABASE_URL": database_url,
    }  # not in the file: it may hold a password
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, address, log, cancelled)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(
                f"the scoring service did not stop within {STOPPED_WITHIN_S:g} s and was killed; "
                f"its log: {log}"
            )


def _wait_until_ready(
    process: subprocess.Popen[bytes], address: str, log: Path, cancelled: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    with ScoringClient(address, timeout_s=5.0) as client:
        while not client.ready() and not cancelled():
            if process.poll() is not None:
                raise DemoError(
                    f"the scoring service ended with exit code {process.returncode}:\n{tail(log)}"
                )
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the scoring service was not ready within {READY_WITHIN_S:g} s:\n{tail(log)}"
                )
            time.sleep(0.1)


def tail(log: Path) -> str:
    """The last lines of a log, indented, and where the rest is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([*(f"  {line}" for line in lines), f"its log: {log}"])
