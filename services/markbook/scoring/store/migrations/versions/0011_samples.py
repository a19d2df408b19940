"""The list of marked samples, rejected ones too; a teacher's reasons on request; exchanges with the
teacher.

Marks made before are listed once the service has read them: their first line and score are not in
SQL's reach.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("weights", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("reasons", sa.Text),
        sa.Column("task", sa.LargeBinary, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("group_id", sa.LargeBinary),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("first_line", sa.Text),
        sa.Column("tests", sa.Text),
        sa.Column("exchange", sa.LargeBinary),
    )
    op.create_index("samples_created", "samples", ["created_ms", "key"])
    op.create_index("samples_task", "samples", ["task", "created_ms"])
    op.create_index("samples_group", "samples", ["group_id"])
    decided = sa.text("source <> 'teacher'")
    op.create_index(
        "samples_decided",
        "samples",
        ["created_ms", "key"],
        sqlite_where=decided,
        postgresql_where=decided,
    )
    op.create_table(
        "explanations",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("criteria", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exchanges",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("reply", sa.LargeBinary, nullable=False),
    )
    op.create_index("exchanges_at", "exchanges", ["at_ms", "id"])
