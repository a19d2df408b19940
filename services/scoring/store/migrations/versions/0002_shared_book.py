"""What a book that many trainers share needs besides its marks and its ledger."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
