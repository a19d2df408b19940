"""Kills a process together with its children."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress


def end_group(leader: subprocess.Popen[bytes]) -> int:
    """Kill `leader`, started with `process_group=0`, and its process group; returns the leader's
    exit code.

    PID 1 of a container inherits orphans and has to reap them itself.
    """
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)  # no effect if it has exited already
    ended_with = leader.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-leader.pid, 0)
    return ended_with
