"""The only room with SQL: marks, claims on marks to come, and the ledger of requests and paid
calls.
"""

from markbook.scoring.store import score_sums
from markbook.scoring.store.agreement_counts import JudgedKind
from markbook.scoring.store.alert_outbox import ActiveAlert, Alert, Delivery
from markbook.scoring.store.api_keys import KEY_NAME, RUN_PATTERN, ApiKey, ApiKeys
from markbook.scoring.store.audits import AuditSum, NewAudit
from markbook.scoring.store.batch_rows import NewResult, SampleState, StoredBatch, StoredRequest
from markbook.scoring.store.batch_tables import ENDED, QUEUED, SENDING, SENT
from markbook.scoring.store.batches import BatchTakenError
from markbook.scoring.store.budget_alerts import BudgetAlert
from markbook.scoring.store.claims import ClaimConflictError
from markbook.scoring.store.ledger import RequestLine
from markbook.scoring.store.marks import NewMark, Record, StoredMark
from markbook.scoring.store.permissions import OWNER, Viewer
from markbook.scoring.store.profiles import Profile
from markbook.scoring.store.recent_marks import MAX_MARKS, Cursor, Paid
from markbook.scoring.store.records import MarkFilter
from markbook.scoring.store.retention import RetentionPolicy
from markbook.scoring.store.rollups import HOUR_MS, MINUTE_RETENTION_MS, CounterTotals, Rollups
from markbook.scoring.store.run_comparison import ComparedTask
from markbook.scoring.store.sample_details import WholeSample
from markbook.scoring.store.sample_filter import MAX_SAMPLES, Order, SampleCursor, SampleFilter
from markbook.scoring.store.sample_texts import Texts
from markbook.scoring.store.samples import Facet, ListedSample, ListedTask, NewestSamples
from markbook.scoring.store.settlement import CallContext, Settlement
from markbook.scoring.store.store import Store, StoreObservers
from markbook.scoring.store.tables import LATENCY_BUCKETS, LATENCY_MS
from markbook.scoring.store.test_verdicts import Verdicts
from markbook.scoring.store.tests_audits import NewTestsAudit

__all__ = [
    "ENDED",
    "HOUR_MS",
    "KEY_NAME",
    "LATENCY_BUCKETS",
    "LATENCY_MS",
    "MAX_MARKS",
    "MAX_SAMPLES",
    "MINUTE_RETENTION_MS",
    "OWNER",
    "QUEUED",
    "RUN_PATTERN",
    "SENDING",
    "SENT",
    "ActiveAlert",
    "Alert",
    "ApiKey",
    "ApiKeys",
    "AuditSum",
    "BatchTakenError",
    "BudgetAlert",
    "CallContext",
    "ClaimConflictError",
    "ComparedTask",
    "CounterTotals",
    "Cursor",
    "Delivery",
    "Facet",
    "JudgedKind",
    "ListedSample",
    "ListedTask",
    "MarkFilter",
    "NewAudit",
    "NewMark",
    "NewResult",
    "NewTestsAudit",
    "NewestSamples",
    "Order",
    "Paid",
    "Profile",
    "Record",
    "RequestLine",
    "RetentionPolicy",
    "Rollups",
    "SampleCursor",
    "SampleFilter",
    "SampleState",
    "Settlement",
    "Store",
    "StoreObservers",
    "StoredBatch",
    "StoredMark",
    "StoredRequest",
    "Texts",
    "Verdicts",
    "Viewer",
    "WholeSample",
    "score_sums",
]
