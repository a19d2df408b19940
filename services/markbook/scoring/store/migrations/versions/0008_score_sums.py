"""Sums and histograms of scores by run, source and time. Samples counted before have none; their counts stay."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SUMS = ("score_usum", "square_nsum", *(f"bin_{number}" for number in range(10)))


def upgrade() -> None:
    op.add_column("ledger_requests", sa.Column("scores", sa.Text))
    op.create_table(
        "score_rollups",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    op.create_index("score_rollups_at", "score_rollups", ["at_ms"])
