"""Spending by day for budgets with a period, alerts to deliver, and what API keys may do, until
when and how fast.

Days before the migration have no spending: a budget per month counts from the migration on in its
first month.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_KEY_COLUMNS = (
    ("limit_per", sa.Text),
    ("is_admin", sa.Boolean),
    ("requests_per_minute", sa.Integer),
    ("samples_per_minute", sa.Integer),
    ("expires_ms", sa.BigInteger),
    ("rotated_ms", sa.BigInteger),
    ("last_used_ms", sa.BigInteger),
)


def upgrade() -> None:
    op.create_table(
        "budget_days",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("budget_days_day", "budget_days", ["day"])
    op.create_table(
        "alerts",
        sa.Column("event", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger),
    )
    op.create_index("alerts_next_attempt", "alerts", ["next_attempt_ms"])
    for name, kind in _KEY_COLUMNS:
        op.add_column("api_keys", sa.Column(name, kind))
