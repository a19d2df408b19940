"""The only room with SQL: marks, claims on marks to come, and the ledger of requests and paid calls."""

from services.scoring.store.audits import AuditSum, NewAudit
from services.scoring.store.claims import Elsewhere
from services.scoring.store.keys import ApiKey, ApiKeys
from services.scoring.store.ledger import RequestLine
from services.scoring.store.life import Life
from services.scoring.store.marks import NewMark, Record, StoredMark
from services.scoring.store.money import Bill, Purpose
from services.scoring.store.page import MOST_MARKS, Cursor, Paid
from services.scoring.store.profiles import Profile
from services.scoring.store.rollup import HOUR_MS, MINUTES_MS, Sums, Tally
from services.scoring.store.store import Store
from services.scoring.store.tables import LATENCY_MS, TOOK
from services.scoring.store.texts import Texts
from services.scoring.store.verdicts import Verdicts
from services.scoring.store.viewer import OWNER, Viewer

__all__ = [
    "HOUR_MS",
    "LATENCY_MS",
    "MINUTES_MS",
    "MOST_MARKS",
    "OWNER",
    "TOOK",
    "ApiKey",
    "ApiKeys",
    "AuditSum",
    "Bill",
    "Cursor",
    "Elsewhere",
    "Life",
    "NewAudit",
    "NewMark",
    "Paid",
    "Profile",
    "Purpose",
    "Record",
    "RequestLine",
    "Store",
    "StoredMark",
    "Sums",
    "Tally",
    "Texts",
    "Verdicts",
    "Viewer",
]
