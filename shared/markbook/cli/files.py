"""Reading the files that a user names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from markbook.config.loading import ConfigError


def standard_input() -> BinaryIO:
    """Raises ConfigError where the process was started with a closed standard input."""
    if sys.stdin is None:
        raise ConfigError("cannot read -: standard input is closed")
    return sys.stdin.buffer


def read_text(name: str) -> str:
    """A UTF-8 text file, without a byte order mark; `-` is standard input. Raises ConfigError."""
    try:
        data = standard_input().read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text") from error
