"""The tier's worker process: classifies samples that would block the event loop, and is killed at
its limits.

Protocol: one JSON line in, `[code, task, language]`; one out, `[score, reasons]`. Exits at the end
of its input.
"""

from __future__ import annotations

import json
import resource
import signal
import sys

from markbook.scoring.heuristics.classify import classify

READY = b"ready\n"
MEMORY_BYTES = 512 * 1024 * 1024
"""Address space limit: a parse of the longest sample takes a fifth of it."""


def main() -> None:
    """Classify until the input ends.

    `argv[1]`: CPU seconds per sample before the process is killed.
    """
    limit_s = float(sys.argv[1])
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the service closes the input
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    output = sys.stdout.buffer
    output.write(READY)
    output.flush()
    for line in sys.stdin.buffer:
        code, task, language = json.loads(line)
        signal.setitimer(
            signal.ITIMER_PROF, limit_s
        )  # SIGPROF, which no one handles, ends the process
        result = classify(code, task, language, budget_s=limit_s * 0.8)
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write(json.dumps(result).encode() + b"\n")
        output.flush()
