"""The tables of the list of samples: one row per marked sample, reasons on request, exchanges
with the teacher.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, LargeBinary, Table, Text, text

from markbook.scoring.store.tables import metadata

TEACHER = "teacher"
"""The source of samples that have a row in `marks`; all others were decided by a tier before the
teacher.
"""
DECIDED_BY_A_TIER = text(f"source <> '{TEACHER}'")
"""As in the partial index: written out, or SQLite would not use that."""

samples = Table(
    "samples",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # as in marks
    Column("source", Text, nullable=False),  # teacher, tests or heuristic
    Column("score", Float),  # null: not computed yet, or of a rubric that is not in use
    Column(
        "weights", Text, nullable=False
    ),  # a hash of the weights that the score was computed with
    Column("language", Text, nullable=False),
    Column("reason", Text),  # the first of `reasons`; null where a teacher marked it
    Column("reasons", Text),  # JSON list of codes, of a tier; a teacher's are in marks
    Column("task", LargeBinary, nullable=False),  # the prompt hash of the key
    Column(
        "run", Text, nullable=False
    ),  # that it was first marked for; empty where that is not known
    Column("group_id", LargeBinary),  # as in marks; null where a tier decided
    Column("created_ms", BigInteger, nullable=False),
    Column("first_line", Text),  # of the code; null where texts are not stored
    Column("tests", Text),  # JSON: what came of its tests; null: none were run
    Column("exchange", LargeBinary),  # id of the request to the teacher that made the mark
    Index("samples_created", "created_ms", "key"),
    Index("samples_task", "task", "created_ms"),
    Index("samples_group", "group_id"),
    Index(
        "samples_decided",
        "created_ms",
        "key",
        sqlite_where=DECIDED_BY_A_TIER,
        postgresql_where=DECIDED_BY_A_TIER,
    ),
)

explanations = Table(
    "explanations",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # of the sample
    Column("run", Text, nullable=False),  # that paid
    Column("at_ms", BigInteger, nullable=False),
    Column("reason", Text),  # null while the teacher is asked
    Column("criteria", Text),  # JSON object: what the teacher gave with the reason; likewise
    Column("model", Text, nullable=False),
    sqlite_with_rowid=False,
)

exchanges = Table(
    "exchanges",
    metadata,
    Column("id", LargeBinary, primary_key=True),  # a hash of request and reply
    Column("at_ms", BigInteger, nullable=False),
    Column("request", LargeBinary, nullable=False),  # the body as JSON, zlib
    Column("reply", LargeBinary, nullable=False),  # its text: UTF-8, zlib
    Index("exchanges_at", "at_ms", "id"),
)
