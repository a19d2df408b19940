"""The only room with SQL: marks, claims on marks to come, and the ledger of requests and paid calls."""

from services.scoring.store.ledger import RequestLine, Sums
from services.scoring.store.marks import NewMark, StoredMark
from services.scoring.store.money import Purpose
from services.scoring.store.store import Store

__all__ = ["NewMark", "Purpose", "RequestLine", "Store", "StoredMark", "Sums"]
