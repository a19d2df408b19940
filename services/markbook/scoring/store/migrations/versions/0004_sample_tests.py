"""Samples with tests: their verdicts, a count of the marks they decide, and the tests' digest
beside a mark's texts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "test_verdicts",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("passed", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("not_run", sa.Integer, nullable=False),
        sa.Column("first_failure", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("test_verdicts_created", "test_verdicts", ["created_ms"])
    op.add_column(
        "ledger_requests", sa.Column("tests", sa.Integer, nullable=False, server_default="0")
    )
    op.add_column(
        "ledger_sums", sa.Column("tests", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column("texts", sa.Column("tests_digest", sa.LargeBinary))
