"""Sums and histograms of scores by run, source and time, and figures that trainers report about
their runs.

Samples counted before have no scores; their counts stay.
"""

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
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    op.create_index("score_rollups_at", "score_rollups", ["source", "at_ms"])
    op.create_table(
        "run_metrics",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("low", sa.Float),
        sa.Column("high", sa.Float),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("run_metrics_at", "run_metrics", ["run", "at_ms"])
