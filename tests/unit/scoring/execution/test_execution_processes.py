"""Processes of the sandboxes: that they start, and that none is left or holds anybody up."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from markbook.scoring.errors import ExecutionUnavailableError
from markbook.scoring.execution import Limits, Verdict, cpython, factory
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.factory import open_runner
from markbook.scoring.execution.monty import MontySandbox, check_monty

LIMITS = Limits(test_s=20.0, total_s=60.0)


def test_a_dead_pool_is_an_error_and_no_verdict():
    sandbox = MontySandbox(1)
    sandbox.close()
    with pytest.raises(ExecutionUnavailableError, match="closed") as caught:
        sandbox.run("def f(x): return 1", ["assert f(1) == 1"], "", LIMITS)
    assert (caught.value.status, caught.value.code) == (503, "execution_unavailable")


def test_closing_ends_every_worker_and_so_does_forgetting_the_sandbox():
    before = workers()
    for forget in (False, True):
        sandbox = MontySandbox(3)
        with ThreadPoolExecutor(3) as threads:
            slow = ["assert f(1) == 1"] * 40
            asked = [
                threads.submit(sandbox.run, "def f(x): return 1", slow, "", LIMITS)
                for _ in range(6)
            ]
            assert {result.verdict for each in asked for result in each.result()} == {
                Verdict.PASSED
            }
        assert workers() > before
        if forget:
            del sandbox
        else:
            sandbox.close()
        assert workers() == before


def workers():
    """Process ids of Monty's workers that are this process's children."""
    tasks = Path("/proc/self/task").iterdir()
    pids = {pid for task in tasks for pid in (task / "children").read_text().split()}
    return {pid for pid in pids if b"monty_worker" in Path("/proc", pid, "cmdline").read_bytes()}


def test_a_binary_that_is_missing_is_an_error(monkeypatch):
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with pytest.raises(ExecutionUnavailableError, match="does not start"):
        check_monty()
    monkeypatch.setattr(
        factory, "check_monty", check_monty
    )  # in place of the one that tests try once
    with pytest.raises(ExecutionUnavailableError, match="does not start"):
        open_runner("off")
    with pytest.raises(ExecutionUnavailableError, match="does not start"):
        MontySandbox(1).run("", ["assert True"], "", LIMITS)


LEFT = "sleep 60 & echo $! > {file}; exec sleep 60"


@pytest.mark.parametrize("of", ["the probe", "a sample"])
def test_what_bubblewrap_leaves_behind_holds_nobody_up(monkeypatch, tmp_path, of):
    file = tmp_path / "pid"
    monkeypatch.setattr(cpython, "START_S", 0.5)
    monkeypatch.setattr(cpython, "_command", lambda *_: ["sh", "-c", LEFT.format(file=file)])
    if of == "the probe":
        assert "timed out" in bubblewrap_fault()
        os.kill(int(file.read_text()), signal.SIGKILL)  # it is there still: nobody waited for it
    else:
        with pytest.raises(ExecutionUnavailableError, match="does not start within"):
            CPythonSandbox().run("", ["assert True"], "", Limits(0.1, 0.1))
        with contextlib.suppress(FileNotFoundError):  # it was ended
            assert "zombie" in Path("/proc", file.read_text().strip(), "status").read_text()
