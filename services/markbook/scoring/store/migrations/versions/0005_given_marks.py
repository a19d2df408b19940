"""Which runs of scoped API keys were given which marks."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "given_marks",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("run", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
