"""Tables and columns under the names that the documentation uses. Nothing but names changes."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = {
    "ledger_sums": "ledger_rollups",
    "ledger_failures": "failure_rollups",
    "accounts": "budget_balances",
    "audits": "heuristic_audits",
}
COLUMNS = (
    ("marks", "used_s", "last_used_s"),
    ("ledger_requests", "plain_tokens", "baseline_tokens"),
    ("ledger_rollups", "plain_tokens", "baseline_tokens"),
    ("ledger_calls", "took_ms", "duration_ms"),
)


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
    for table, old, new in COLUMNS:
        op.execute(
            f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}"
        )  # in place, on both databases
    op.drop_index("ledger_sums_at", table_name="ledger_rollups")
    op.create_index("ledger_rollups_at", "ledger_rollups", ["at_ms"])
    _rename_in_reserved_calls()


def _rename_in_reserved_calls() -> None:
    """A reservation holds the ledger's row of its call as JSON, for the case that its process
    dies.
    """
    held = sa.table("reservations", sa.column("id"), sa.column("line"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(held)).all():
        line = json.loads(row.line)
        if "took_ms" in line:
            line["duration_ms"] = line.pop("took_ms")
            connection.execute(
                held.update().where(held.c.id == row.id).values(line=json.dumps(line))
            )
