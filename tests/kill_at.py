"""`python -m tests.kill_at TARGET N ARGUMENTS...`: the trainer, killed with SIGKILL at the N-th call of TARGET.

TARGET is a function as `module:name` or `module:Class.name`. A moment of the program instead of a moment of the clock.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from itertools import count
from typing import Any

from trainer.__main__ import main


def kill_at(target: str, nth: int) -> None:
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), count(1)

    def deadly(*args: Any, **keywords: Any) -> Any:
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **keywords)

    setattr(owner, name, deadly)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
