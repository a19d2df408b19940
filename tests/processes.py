"""The scoring service as a real process on a free port, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from markbook.client import RetryPolicy, ScoringClient

ROOT = Path(__file__).parents[1]
_LISTENING = re.compile(r"listening on (http://[^\s\"]+)")


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without settings or keys of the person who runs the tests."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MARKBOOK_", "ANTHROPIC_", "OTEL_"))
    }
    return {**kept, **more}


class ServiceProcess:
    """`markbook serve`, ready to be asked; `with` stops it with SIGTERM."""

    def __init__(
        self, database_url: str, *arguments: str, port: int = 0, **environment: str
    ) -> None:
        self._command = [sys.executable, "-m", "markbook.scoring", "--port", str(port), *arguments]
        self._environment = clean_environment(MARKBOOK_DATABASE_URL=database_url, **environment)
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        """Start, or start again; the address is found in the log."""
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said, self._up = threading.Event(), False
        self._reader = threading.Thread(target=self._read, args=(said,))
        self._reader.start()
        said.wait()
        assert self._up, f"the service did not start:\n{''.join(self.log)}"

    def _read(self, said: threading.Event) -> None:
        """The log to its end: a pipe that nobody empties would hold the service up."""
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self.log.append(line)
                if found := _LISTENING.search(line):
                    self.url = found[1]
                    self._up = True
                    said.set()
        said.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def client(self) -> ScoringClient:
        """One that is not patient: what a test does not expect fails at once."""
        return ScoringClient(self.url, timeout_s=60, retry_policy=RetryPolicy(0.0))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop and return the exit status (negative: the signal that ended it)."""
        self._process.send_signal(how)
        self._reader.join()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()
