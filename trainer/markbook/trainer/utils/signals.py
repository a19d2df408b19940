"""Ctrl-C and SIGTERM: raised where the program is, and remembered, for Python drops what a
destructor raises.

While a run is being saved they are only remembered.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received = threading.Event()
_held = threading.Event()


def install() -> None:
    """From here on SIGINT and SIGTERM raise KeyboardInterrupt. Main thread only."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _receive)


def check() -> None:
    """Raise the interrupt that came and was lost on its way."""
    if _received.is_set():
        raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Inside, no signal ends what is being done: a second Ctrl-C would cost what the first one
    is saving.
    """
    _held.set()
    try:
        yield
    finally:
        _held.clear()


def _receive(_number: int, _frame: FrameType | None) -> None:
    _received.set()
    if not _held.is_set():
        raise KeyboardInterrupt
