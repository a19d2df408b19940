"""Agreement of teachers with tests by run, profile, language and time, and audits of samples that
failed a test.

Judgments from before have not been counted against their tests.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agreement_rollups",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("profile", sa.LargeBinary, primary_key=True),
        sa.Column("language", sa.Text, primary_key=True),
        sa.Column("passed", sa.Boolean, primary_key=True),
        sa.Column("percent", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("samples", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("agreement_rollups_at", "agreement_rollups", ["at_ms"])
    op.create_table(
        "tests_audits",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("profile", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("tests_score", sa.Float, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("criteria", sa.Text),
        sa.Column("teacher_score", sa.Float),
    )
