"""Which run paid for a mark, kept with the mark: the ledger's lines, which had it so far, are
dropped in time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("marks", sa.Column("run", sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE marks SET run = COALESCE((SELECT MIN(run) FROM ledger_calls"
        " WHERE ledger_calls.group_id = marks.group_id AND NOT failed), '')"
    )
