"""Reading the files that a user names."""

from __future__ import annotations

import os
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


def check_writable(name: str) -> None:
    """Raise ConfigError where a file cannot be written: before work whose result would be lost."""
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"cannot write {name}: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(
            f"cannot write {name}: {path.parent} is not a folder that can be written to"
        )


def write_text(name: str, text: str) -> None:
    """A UTF-8 text file, complete or not at all. Raises ConfigError."""
    part = Path(f"{name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(name)
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
