"""`python -m markbook.trainer.rollout.vllm_guard COMMAND…`: runs COMMAND for as long as something
holds its stdin open.

The trainer holds the other end of that pipe, which the system closes however the trainer ends, by
kill -9 too: then COMMAND is stopped with all processes that it has started. COMMAND's exit status
becomes this one's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

STOP_S = 10.0
"""Seconds between SIGTERM, at which vLLM ends its own processes, and SIGKILL."""
SIGNAL_OFFSET = 128
"""Added to the number of a signal, it is the exit status of what the signal ended, as in a
shell.
"""


def main(command: Sequence[str]) -> int:
    """Run `command` to its end, to the end of stdin, or to SIGTERM. Returns its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with, args=(child,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
    return _end_group(child)


def _end_with(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    os._exit(_end_group(child))  # the main thread reads stdin, which cannot be interrupted


def _end_group(child: subprocess.Popen[bytes]) -> int:
    """Kill what `child` has left running; returns its exit status."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else SIGNAL_OFFSET - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
