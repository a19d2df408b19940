"""Ctrl-C and SIGTERM: raised where the program is, and remembered, for Python drops what a destructor raises."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_received = threading.Event()


def install() -> None:
    """From here on SIGINT and SIGTERM raise KeyboardInterrupt. Main thread only."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _receive)


def check() -> None:
    """Raise the interrupt that came and was lost on its way."""
    if _received.is_set():
        raise KeyboardInterrupt


def _receive(_number: int, _frame: FrameType | None) -> None:
    _received.set()
    raise KeyboardInterrupt
