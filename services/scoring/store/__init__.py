"""The only room with SQL: marks, and the ledger of requests and paid calls."""

from services.scoring.store.store import LedgerRow, NewMark, RequestLine, Store, StoredMark

__all__ = ["LedgerRow", "NewMark", "RequestLine", "Store", "StoredMark"]
