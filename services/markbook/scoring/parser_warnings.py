"""Suppresses the warnings of Python's parser on samples: they are about the student's code."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_filters = threading.Lock()  # they belong to the process: changes are serialised


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Inside, no warning is shown or raised; afterwards the filters are as they were."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
