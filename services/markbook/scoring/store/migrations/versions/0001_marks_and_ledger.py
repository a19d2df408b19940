"""Marks, their profiles, claims on marks to come, and the ledger of requests and paid calls."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_book()
    create_ledger()
    create_money()


def create_book() -> None:
    op.create_table(
        "profiles",
        sa.Column("profile", sa.LargeBinary, primary_key=True),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "marks",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("criteria", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("group_id", sa.LargeBinary, nullable=False),
        sa.Column("group_position", sa.SmallInteger, nullable=False),
        sa.Column("group_size", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "claims",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("failure", sa.Text),
    )
    op.create_index("claims_owner", "claims", ["owner"])


def create_ledger() -> None:
    op.create_table(
        "ledger_requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("heuristic", sa.Integer, nullable=False),
        sa.Column("cache", sa.Integer, nullable=False),
        sa.Column("coalesced", sa.Integer, nullable=False),
        sa.Column("teacher", sa.Integer, nullable=False),
        sa.Column("unscored", sa.Text),
        sa.Column("plain_tokens", sa.BigInteger, nullable=False),
    )
    op.create_index("ledger_requests_run", "ledger_requests", ["run", "at_ms"])
    op.create_table(
        "ledger_calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("group_id", sa.LargeBinary, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_creation_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("billed_input_equivalent", sa.Float, nullable=False),
        sa.Column("cost_nusd", sa.BigInteger),
        sa.Column("usage_unknown", sa.Boolean, nullable=False),
        sa.Column("provider_request_id", sa.Text),
    )
    op.create_index("ledger_calls_run", "ledger_calls", ["run", "at_ms"])


def create_money() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
    )
    op.create_index("reservations_owner", "reservations", ["owner"])
    op.create_table(
        "accounts",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("nusd", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
    )
