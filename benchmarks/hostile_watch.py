"""What `benchmarks/hostile.py` sees of the service from outside: its health, processes, memory
and file descriptors.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psutil

from tests.processes import ROOT

EVERY_S = 0.05
SETTLE_S = 5.0
LATE_S = 30.0
"""A health check without an answer for so long counts as so long."""
LOOKS = 20
"""Of the looks at the memory, half a second apart, the least counts: sandboxes come and go."""


@dataclass(frozen=True)
class Look:
    """The service's own resident memory, that of it and its children, in MiB; children; its file
    descriptors.
    """

    own: float
    tree: float
    children: int
    descriptors: int


def look(pid: int) -> Look:
    service = psutil.Process(pid)
    own = service.memory_info().rss
    tree = own
    children = service.children(recursive=True)
    for child in children:
        with suppress(psutil.Error):  # it may have ended
            tree += child.memory_info().rss
    return Look(own / 2**20, tree / 2**20, len(children), service.num_fds())


class Watch:
    """Looks at the service every half second until `with` ends; kills it where it takes more
    than `most_mib`.
    """

    def __init__(self, pid: int, most_mib: float) -> None:
        self._pid = pid
        self._most_mib = most_mib
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: set[psutil.Process] = set()
        """Every child that was there at some look."""
        self.worst_mib = 0.0
        self.killed = False

    def now(self) -> Look:
        """The least of the last looks in each number."""
        looks = [*self._looks] or [look(self._pid)]
        return Look(
            min(each.own for each in looks),
            min(each.tree for each in looks),
            min(each.children for each in looks),
            min(each.descriptors for each in looks),
        )

    def forget(self) -> None:
        self._looks.clear()

    def left(self) -> list[str]:
        """Children that are still there, once those that are about to end have had time for it."""
        # a number of a process that has ended may be a thread's by now: psutil cannot wait for that
        running = [child for child in self.seen if child.is_running()]
        _, alive = psutil.wait_procs(running, timeout=SETTLE_S)
        return [
            f"{child.pid} {child.name()} {child.status()}" for child in alive if child.is_running()
        ]

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S * 10):
            try:
                seen = look(self._pid)
                self.seen |= set(psutil.Process(self._pid).children(recursive=True))
            except psutil.Error:
                continue
            self._looks.append(seen)
            self.worst_mib = max(self.worst_mib, seen.tree)
            if seen.tree > self._most_mib and not self.killed:
                self.killed = True
                psutil.Process(self._pid).kill()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()


class Health:
    """Asks /healthz every 50 ms, in a process of its own: what keeps this one busy is no fault
    of the service.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._path = folder / "health.txt"
        command = [sys.executable, "-m", "benchmarks.hostile_watch", url, str(self._path)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True
        )

    def duration_ms(self) -> list[float]:
        """Of every answer so far."""
        return (
            [float(line) for line in self._path.read_text().split()] if self._path.exists() else []
        )

    def close(self) -> None:
        """End it; more than once is as good."""
        if self._process.poll() is None:
            self._process.communicate()  # it ends with its input


def ask_for_ever(url: str, path: str) -> None:
    """Write down how long each answer took in ms, until the input ends."""
    host = urlsplit(url)
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=LATE_S)
    with Path(path).open("w", buffering=1) as lines:
        while not ended.is_set():
            started = time.perf_counter()
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                answer.read()
                took_s = time.perf_counter() - started if answer.status == 200 else LATE_S
            except (OSError, http.client.HTTPException):
                connection.close()
                took_s = LATE_S
            lines.write(f"{1000 * took_s:.2f}\n")
            ended.wait(max(0.0, EVERY_S - (time.perf_counter() - started)))


if __name__ == "__main__":
    ask_for_ever(*sys.argv[1:])
