"""Reads JSONL files, compressed ones (`.gz`) as well, with errors of one line that name the
file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from markbook.config.loading import ConfigError


def read_text(path: str | Path, what: str = "") -> str:
    """The text of a file; `what` names its content in messages ("the tasks ").

    Raises ConfigError.
    """
    try:
        data = Path(path).read_bytes()
        if str(path).endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except gzip.BadGzipFile as error:
        raise ConfigError(f"cannot read {what}{path}: not gzip: {error}") from error
    except (EOFError, zlib.error) as error:
        raise ConfigError(f"cannot read {what}{path}: cut off or damaged: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {what}{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {what}{path}: not UTF-8: {error}") from error


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    # not splitlines(), which splits at characters that a JSON text may hold
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def line_error(name: str, number: int, error: ValidationError) -> ConfigError:
    """The first fault of a line, with file, line and key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return ConfigError(
        f"{name}:{number}: {key or 'the line'}: {first['msg'].removeprefix('Value error, ')}"
    )
