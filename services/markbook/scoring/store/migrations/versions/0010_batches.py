"""Batches of samples that are marked at half the price within a day: what they ask for and how
far they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("profile", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("response", sa.LargeBinary),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("provider_id", sa.Text),
        sa.Column("send_ms", sa.BigInteger),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
    )
    op.create_index("batches_state", "batches", ["state", "due_ms"])
    op.create_table(
        "batch_samples",
        sa.Column("batch", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tests", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("outcome", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batch_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
        sa.Column("bound", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("batch_requests_batch", "batch_requests", ["batch", "round"])
