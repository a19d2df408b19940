"""Ending a process together with the processes that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress


def end_group(leader: subprocess.Popen[bytes]) -> int:
    """Kill `leader`, started with `process_group=0`, and what is in its group; returns what it ended with.

    The first process of a container inherits those whose parent has died, and must take them off the list of processes.
    """
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)  # of one that is dead by itself it changes nothing
    ended_with = leader.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-leader.pid, 0)
    return ended_with
