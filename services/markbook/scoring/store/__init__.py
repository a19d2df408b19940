"""The only room with SQL: marks, claims on marks to come, and the ledger of requests and paid calls."""

from markbook.scoring.store import score_sums
from markbook.scoring.store.alert_outbox import Alert, Delivery
from markbook.scoring.store.api_keys import KEY_NAME, RUN_PATTERN, ApiKey, ApiKeys
from markbook.scoring.store.audits import AuditSum, NewAudit
from markbook.scoring.store.budget_alerts import BudgetAlert
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
    "HOUR_MS",
    "KEY_NAME",
    "LATENCY_BUCKETS",
    "LATENCY_MS",
    "MAX_MARKS",
    "MINUTE_RETENTION_MS",
    "OWNER",
    "RUN_PATTERN",
    "Alert",
    "ApiKey",
    "ApiKeys",
    "AuditSum",
    "BudgetAlert",
    "CallContext",
    "ClaimConflictError",
    "CounterTotals",
    "Cursor",
    "Delivery",
    "NewAudit",
    "NewMark",
    "Paid",
    "Profile",
    "Record",
    "RequestLine",
    "RetentionPolicy",
    "Rollups",
    "Settlement",
    "Store",
    "StoredMark",
    "Texts",
    "Verdicts",
    "Viewer",
    "score_sums",
]
