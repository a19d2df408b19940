"""How long paid calls take and how many fail, and indexes for the page's looks at the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ENDS = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, "longer")
_COUNTS = ("failed_calls", *(f"took_{end}" for end in _ENDS))


def upgrade() -> None:
    op.add_column("ledger_calls", sa.Column("took_ms", sa.Integer))
    op.add_column(
        "ledger_calls", sa.Column("failed", sa.Boolean, nullable=False, server_default=sa.false())
    )
    for name in _COUNTS:
        op.add_column(
            "ledger_sums", sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        )
    op.create_index("ledger_calls_group", "ledger_calls", ["group_id"])
    op.create_index("ledger_sums_at", "ledger_sums", ["at_ms"])
