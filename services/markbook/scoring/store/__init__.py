"""The only room with SQL: marks, claims on marks to come, and the ledger of requests and paid calls."""

from markbook.scoring.store import score_sums
from markbook.scoring.store.api_keys import ApiKey, ApiKeys
from markbook.scoring.store.audits import AuditSum, NewAudit
from markbook.scoring.store.batch_rows import NewResult, SampleState, StoredBatch, StoredRequest
from markbook.scoring.store.batch_tables import ENDED, QUEUED, SENDING, SENT
from markbook.scoring.store.batches import BatchTakenError
from markbook.scoring.store.budgets import CallContext, Settlement
from markbook.scoring.store.claims import ClaimConflictError
from markbook.scoring.store.ledger import RequestLine
from markbook.scoring.store.marks import NewMark, Record, StoredMark
from markbook.scoring.store.profiles import Profile
from markbook.scoring.store.recent_marks import MAX_MARKS, Cursor, Paid
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.rollups import HOUR_MS, MINUTE_RETENTION_MS, CounterTotals, Rollups
from markbook.scoring.store.sample_texts import Texts
from markbook.scoring.store.store import Store
from markbook.scoring.store.tables import LATENCY_BUCKETS, LATENCY_MS
from markbook.scoring.store.test_verdicts import Verdicts
from markbook.scoring.store.viewer import OWNER, Viewer

__all__ = [
    "ENDED",
    "HOUR_MS",
    "LATENCY_BUCKETS",
    "LATENCY_MS",
    "MAX_MARKS",
    "MINUTE_RETENTION_MS",
    "OWNER",
    "QUEUED",
    "SENDING",
    "SENT",
    "ApiKey",
    "ApiKeys",
    "AuditSum",
    "BatchTakenError",
    "CallContext",
    "ClaimConflictError",
    "CounterTotals",
    "Cursor",
    "NewAudit",
    "NewMark",
    "NewResult",
    "Paid",
    "Profile",
    "Record",
    "RequestLine",
    "RetentionPolicy",
    "Rollups",
    "SampleState",
    "Settlement",
    "Store",
    "StoredBatch",
    "StoredMark",
    "StoredRequest",
    "Texts",
    "Verdicts",
    "Viewer",
    "score_sums",
]
