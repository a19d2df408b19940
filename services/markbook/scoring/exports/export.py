"""An export: which marks, in which form. Takes pages of stored marks and returns bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from markbook.contract import MarkRecord
from markbook.scoring.exports.columns import PAIR_COLUMNS, Column, Row, mark_columns, mark_row
from markbook.scoring.exports.pairs import MIN_MARGIN, PairFinder
from markbook.scoring.exports.writers import (
    CsvWriter,
    JsonLinesWriter,
    ParquetWriter,
    TableWriter,
    json_line,
)
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import MarkFilter, Profile, Record
from markbook.scoring.store.export_import import header_of, to_wire


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`min_score`: least score of a mark, or of a pair's chosen sample; marks of another rubric
    have none.

    `pairs`: preference pairs with at least `min_margin` between the two scores, instead of marks.
    """

    format: ExportFormat = ExportFormat.JSONL
    selection: MarkFilter = field(default_factory=MarkFilter)
    min_score: float | None = None
    pairs: bool = False
    min_margin: float = MIN_MARGIN


class MarkExport:
    """The bytes of one export: of `start`, of each page of marks in the order of their keys, and of
    `end`.

    `exported`: rows so far. JSON lines of marks are those that `markbook import` reads;
    `with_header`: its first line, which describes the profiles. Raises ConfigError for Parquet
    without pyarrow.
    """

    def __init__(
        self,
        profiles: Sequence[Profile],
        rubric: Rubric,
        options: ExportOptions,
        *,
        with_header: bool = True,
    ) -> None:
        self.exported = 0
        self._profiles = profiles
        self._rubric = rubric
        self._options = options
        names = [name for profile in profiles for name in profile.criteria]
        self._columns = PAIR_COLUMNS if options.pairs else mark_columns(names)
        self._pairs = PairFinder(options.min_margin, options.min_score)
        self._is_importable = options.format is ExportFormat.JSONL and not options.pairs
        self._with_header = with_header
        self._writer = _make_writer(options.format, self._columns)

    def start(self) -> bytes:
        if self._is_importable and self._with_header:
            return json_line(header_of(self._profiles).model_dump_json()).encode()
        return self._writer.start()

    def page(self, records: Sequence[Record]) -> bytes:
        marks = [(record, to_wire(record, self._rubric)) for record in records]
        if self._options.pairs:
            found: list[Row] = []
            for record, mark in marks:
                found += self._pairs.add(record, mark.score)
            return self._write(found)
        kept = [(record, mark) for record, mark in marks if self._is_kept(mark)]
        if self._is_importable:
            self.exported += len(kept)
            return "".join([json_line(mark.model_dump_json()) for _, mark in kept]).encode()
        return self._write([mark_row(mark, record.run, self._columns) for record, mark in kept])

    def end(self) -> bytes:
        return self._write([*self._pairs.end()]) + self._writer.end()

    def _is_kept(self, mark: MarkRecord) -> bool:
        least = self._options.min_score
        return least is None or (mark.score is not None and mark.score >= least)

    def _write(self, rows: Sequence[Row]) -> bytes:
        self.exported += len(rows)
        return self._writer.rows(rows)


def _make_writer(name: ExportFormat, columns: Sequence[Column]) -> TableWriter:
    if name is ExportFormat.CSV:
        return CsvWriter(columns)
    return ParquetWriter(columns) if name is ExportFormat.PARQUET else JsonLinesWriter()
