"""The schema of batches: what is asked for is stored before anything is sent, so a killed
process loses nothing.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text

from markbook.scoring.store.tables import metadata

QUEUED, SENDING, SENT, ENDED = "queued", "sending", "sent", "ended"
"""States. queued: to be divided into requests; sending: these are stored and reserved; sent: the
provider has them.
"""

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run", Text, nullable=False),
    Column("key", Text),  # name of the API key that it is charged to
    Column("profile", LargeBinary, nullable=False),  # only a service with this profile continues it
    Column("state", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("body", LargeBinary),  # the request: JSON, zlib; null once it has ended
    Column("response", LargeBinary),  # results and usage: JSON, zlib; null until it has ended
    Column(
        "round", Integer, nullable=False
    ),  # batches at the provider so far: its samples may be requested again
    Column("requests", Integer, nullable=False),  # in the current round
    Column("provider_id", Text),  # of the current round; null: not known
    Column(
        "send_ms", BigInteger
    ),  # when the current round began to be sent; null: it certainly was not
    Column("due_ms", BigInteger, nullable=False),  # when to look at it again
    Column("owner", Text),  # the process that works on it
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Index("batches_state", "state", "due_ms"),
)

batch_samples = Table(
    "batch_samples",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),  # as in marks
    Column("attempts", Integer, nullable=False),  # rounds in which the teacher was asked for it
    Column("tests", Text),  # JSON: the verdict of its tests
    Column("failure", Text),  # JSON: why the last attempt failed, where it is requested again
    Column("outcome", Text),  # JSON: its mark, or why it has none; null: open
    sqlite_with_rowid=False,
)

batch_requests = Table(
    "batch_requests",
    metadata,
    Column(
        "id", Text, primary_key=True
    ),  # custom id at the provider, and id of its reservation and ledger line
    Column("batch", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("digests", LargeBinary, nullable=False),  # of its samples, in the order shown
    Column("bound", Text, nullable=False),  # JSON: what is reserved for it
    Column("done", Boolean, nullable=False),  # its result is stored
    Index("batch_requests_batch", "batch", "round"),
)
