"""A process that kills itself at a moment of the program instead of a moment of the clock."""

from __future__ import annotations

import importlib
import os
import signal
from itertools import count
from typing import Any


def kill_at(target: str, nth: int) -> None:
    """SIGKILL at the `nth` call of `target`, a function as `module:name` or `module:Class.name`."""
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
