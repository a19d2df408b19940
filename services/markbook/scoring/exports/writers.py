"""Tables as bytes: JSON lines, CSV that no spreadsheet runs, Parquet.

Each holds a bounded part of the table.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from markbook.config.loading import ConfigError
from markbook.scoring.exports.columns import Column, Row

PARQUET_ROWS = 5_000
"""Rows of a row group; fewer where their texts are long."""
PARQUET_CHARS = 16_000_000
"""Characters of text after which a row group is written."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of a cell that spreadsheets run as a formula (OWASP, CSV Injection); the last
are full-width.
"""
_LINE_ENDS = ("\x85", "\u2028", "\u2029")
"""Characters that some readers take for the end of a line, although JSON allows them in a
string.
"""


class TableWriter(Protocol):
    """The bytes of a table: those of `start`, of every batch of rows, and of `end`, in this
    order.
    """

    def start(self) -> bytes: ...

    def rows(self, rows: Sequence[Row]) -> bytes: ...

    def end(self) -> bytes: ...


class JsonLinesWriter:
    """An object per line."""

    def start(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Row]) -> bytes:
        lines = [json_line(json.dumps(row, ensure_ascii=False, default=_iso)) for row in rows]
        return "".join(lines).encode()

    def end(self) -> bytes:
        return b""


class CsvWriter:
    """RFC 4180 in UTF-8, with a header.

    Text that a spreadsheet would run as a formula has an apostrophe before it.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def start(self) -> bytes:
        return _csv([[column.name for column in self._columns]])

    def rows(self, rows: Sequence[Row]) -> bytes:
        lines: list[list[Any]] = []
        for row in rows:
            lines.append([_cell(row[column.name]) for column in self._columns])
        return _csv(lines)

    def end(self) -> bytes:
        return b""


class ParquetWriter:
    """Parquet, compressed. Raises ConfigError where pyarrow is not installed."""

    def __init__(self, columns: Sequence[Column]) -> None:
        try:
            import pyarrow  # an optional extra, and slow to import
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Parquet needs {error.name}, which is not installed: pip install "
                "'markbook[parquet]'"
            ) from error
        kinds = {
            "text": pyarrow.string(),
            "number": pyarrow.float64(),
            "integer": pyarrow.int64(),
            "time": pyarrow.timestamp("ms", tz="UTC"),
        }
        self._schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in columns])
        self._make_table = pyarrow.Table.from_pylist
        self._sink = _Sink()
        self._writer = pyarrow.parquet.ParquetWriter(
            pyarrow.PythonFile(self._sink, mode="w"), self._schema, compression="zstd"
        )
        self._rows: list[Row] = []
        self._chars = 0

    def start(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Row]) -> bytes:
        for row in rows:
            self._rows.append(row)
            self._chars += sum(len(value) for value in row.values() if isinstance(value, str))
            if len(self._rows) == PARQUET_ROWS or self._chars >= PARQUET_CHARS:
                self._write_group()
        return self._sink.take()

    def end(self) -> bytes:
        self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(self._make_table(self._rows, schema=self._schema))
        self._rows, self._chars = [], 0


def json_line(text: str) -> str:
    """One line of JSON, for readers too that take other characters than a line feed for the end
    of one.
    """
    for char in _LINE_ENDS:
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


class _Sink(io.RawIOBase):
    """A file that only grows, and whose content is taken as it does: Parquet is written without
    going back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no value of a table")
