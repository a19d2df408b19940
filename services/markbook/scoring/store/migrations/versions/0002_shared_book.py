"""What a store shared by many trainers needs besides its marks and its ledger."""

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pack_marks()
    create_texts()
    create_api_keys()
    create_audits()
    create_sums()


def create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("runs", sa.Text, nullable=False),
        sa.Column("limit_nusd", sa.BigInteger),
        sa.Column("limit_tokens", sa.BigInteger),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
    )


def create_audits() -> None:
    op.create_table(
        "audits",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("profile", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("heuristic_score", sa.Float, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("criteria", sa.Text),
        sa.Column("teacher_score", sa.Float),
    )


_PAGE = 1000
_NAMED = 20
"""Bytes of profile and short hashes at the start of a key; the start of the digest goes in after
them.
"""


def pack_marks() -> None:
    """Criteria as bare numbers, their names once a profile; part of the digest in the key; the
    time of the last use.
    """
    connection = op.get_bind()
    op.add_column("profiles", sa.Column("criteria", sa.Text, nullable=False, server_default="[]"))
    names = _criteria_names(connection)
    op.rename_table("marks", "marks_0001")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER INDEX marks_pkey RENAME TO marks_0001_pkey")
    packed = op.create_table(
        "marks",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("criteria", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text),
        sa.Column("group_id", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("used_s", sa.Integer, nullable=False),
        sa.Column("group_position", sa.SmallInteger, nullable=False),
        sa.Column("group_size", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    old = sa.table(
        "marks_0001", *(sa.column(each.name) for each in packed.columns if each.name != "used_s")
    )
    after = b""
    while page := connection.execute(
        sa.select(old).where(old.c.key > after).order_by(old.c.key).limit(_PAGE)
    ).all():
        connection.execute(packed.insert(), [_packed(row, names[row.key[:8]]) for row in page])
        after = page[-1].key
    op.create_index("marks_used", "marks", ["used_s"])
    op.drop_table("marks_0001")


def _criteria_names(connection: sa.Connection) -> dict[bytes, list[str]]:
    """The names of each profile's criteria, off its first mark.

    A profile without marks goes: it is written again.
    """
    profiles = sa.table("profiles", sa.column("profile"), sa.column("criteria"))
    marks = sa.table("marks", sa.column("key"), sa.column("criteria"))
    names: dict[bytes, list[str]] = {}
    for profile in connection.execute(sa.select(profiles.c.profile)).scalars().all():
        mine = profiles.c.profile == profile
        first = (
            sa.select(marks.c.key, marks.c.criteria)
            .where(marks.c.key > profile)
            .order_by(marks.c.key)
            .limit(1)
        )
        row = connection.execute(first).one_or_none()
        if row is None or row.key[:8] != profile:
            connection.execute(sa.delete(profiles).where(mine))
        else:
            names[profile] = list(json.loads(row.criteria))
            connection.execute(
                sa.update(profiles).where(mine).values(criteria=json.dumps(names[profile]))
            )
    return names


def _packed(row: sa.Row[Any], names: list[str]) -> dict[str, object]:
    criteria = json.loads(row.criteria)
    return {
        **row._mapping,
        "key": row.key[:_NAMED] + row.digest[:8] + row.key[_NAMED:],
        "criteria": json.dumps([criteria[name] for name in names], separators=(",", ":")),
        "used_s": row.created_ms // 1000,
    }


def create_texts() -> None:
    op.create_table(
        "texts",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("task", sa.LargeBinary, nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("texts_task", "texts", ["task"])
    op.create_index("texts_created", "texts", ["created_ms"])
    op.create_table(
        "tasks",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("task", sa.LargeBinary, nullable=False),
    )


_COUNTED = ("samples", "heuristic", "cache", "coalesced", "teacher", "unscored", "plain_tokens")
_BILLED = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_PRICED = ("billed_utokens", "cost_nusd", "unpriced")
_UNKNOWN = ("unknown_calls", "unknown_tokens", "unknown_nusd", "unknown_unpriced")
_MINUTE = "at_ms - at_ms % 60000"


def create_sums() -> None:
    """The ledger's sums by minute, and what its lines up to now come to."""
    numbers = [*_COUNTED, *_BILLED, *_PRICED, *_UNKNOWN]
    op.create_table(
        "ledger_sums",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in numbers),
        sqlite_with_rowid=False,
    )
    failures = op.create_table(
        "ledger_failures",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("code", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    for table in ("ledger_requests", "ledger_calls"):
        op.drop_index(f"{table}_run", table)
        op.create_index(f"{table}_at", table, ["at_ms"])
    tokens = " + ".join(_BILLED[1:])
    requests = {name: name for name in _COUNTED} | {
        "unscored": "samples - heuristic - cache - coalesced - teacher"
    }
    bills = {name: name for name in _BILLED} | {
        "calls": "1",
        "billed_utokens": "CAST(ROUND(billed_input_equivalent * 1000000) AS BIGINT)",
        "cost_nusd": "COALESCE(cost_nusd, 0)",
        "unpriced": "CASE WHEN cost_nusd IS NULL THEN 1 ELSE 0 END",
    }
    bounds = {"unknown_calls": "1", "unknown_tokens": tokens} | {
        "unknown_nusd": bills["cost_nusd"],
        "unknown_unpriced": bills["unpriced"],
    }
    parts = [
        _part(numbers, requests, "ledger_requests"),
        _part(numbers, bills, "ledger_calls WHERE NOT usage_unknown"),
        _part(numbers, bounds, "ledger_calls WHERE usage_unknown"),
    ]
    sums = ", ".join(f"SUM({name})" for name in numbers)
    op.execute(
        f"INSERT INTO ledger_sums (at_ms, run, {', '.join(numbers)}) "
        f"SELECT minute, run, {sums} FROM ({' UNION ALL '.join(parts)}) AS lines GROUP BY minute, "
        "run"
    )
    rows = _failed(op.get_bind())
    if rows:
        op.bulk_insert(failures, rows)


def _part(numbers: list[str], values: dict[str, str], source: str) -> str:
    columns = ", ".join(f"{values.get(name, '0')} AS {name}" for name in numbers)
    return f"SELECT {_MINUTE} AS minute, run, {columns} FROM {source}"


def _failed(connection: sa.Connection) -> list[dict[str, object]]:
    lines = sa.text(
        f"SELECT {_MINUTE} AS minute, run, unscored FROM ledger_requests WHERE unscored IS NOT NULL"
    )
    samples: Counter[tuple[int, str, str]] = Counter()
    for minute, run, codes in connection.execute(lines):
        samples.update({(minute, run, code): count for code, count in json.loads(codes).items()})
    return [
        {"at_ms": at, "run": run, "code": code, "samples": n}
        for (at, run, code), n in samples.items()
    ]
