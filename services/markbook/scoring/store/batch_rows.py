"""Rows of batches, and what several of their transactions share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from markbook.scoring.store.batch_tables import ENDED, batch_requests, batch_samples, batches
from markbook.scoring.store.claims import delete_claims, lock_digests
from markbook.scoring.store.lease_clock import BATCH_OWNER
from markbook.scoring.store.marks import NewMark
from markbook.scoring.store.statements import insert_into
from markbook.scoring.types import TeacherCall

_CHUNK = 500
"""Rows per statement."""
_DIGEST = 32
"""Bytes of a digest."""

_BATCH, _SAMPLE, _REQUEST = batches.c, batch_samples.c, batch_requests.c


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A row. `body` and `response` are as they were given to `add` and `finish`."""

    id: str
    run: str
    key: str | None
    state: str
    samples: int
    body: bytes | None
    response: bytes | None
    round: int
    requests: int
    provider_id: str | None
    send_ms: int | None
    created_ms: int
    ended_ms: int | None = None

    @property
    def owner(self) -> str:
        """The owner of its claims and reservations."""
        return BATCH_OWNER + self.id


@dataclass(frozen=True, slots=True)
class SampleState:
    """How far a sample is; all but `attempts` are JSON. `outcome` None: open."""

    attempts: int = 0
    tests: str | None = None
    failure: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request of a batch: its custom id, its samples in the order shown, and the most it can
    cost.
    """

    id: str
    digests: Sequence[bytes]
    bound: TeacherCall
    done: bool = False


@dataclass(frozen=True, slots=True)
class NewResult:
    """What one request brought. `states`: of each of its samples; `bill` replaces its bound."""

    request: StoredRequest
    group_id: str
    marked: Sequence[NewMark]
    states: Mapping[bytes, SampleState]
    bill: TeacherCall


def find_ended(connection: Connection, before_ms: int, limit: int) -> Sequence[str]:
    """At most `limit` ids of batches that ended before `before_ms`."""
    old = select(_BATCH.id).where(_BATCH.state == ENDED, _BATCH.ended_ms < before_ms).limit(limit)
    return connection.execute(old).scalars().all()


def drop_ended(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(batch_requests).where(_REQUEST.batch.in_(ids)))
    connection.execute(delete(batches).where(_BATCH.id.in_(ids)))


def read_batch(row: Row[Any]) -> StoredBatch:
    names = StoredBatch.__dataclass_fields__
    return StoredBatch(**{name: value for name, value in row._mapping.items() if name in names})


def request_rows(
    batch: str, round_: int, requests: Sequence[StoredRequest]
) -> list[dict[str, Any]]:
    """Rows of requests whose result is open."""
    return [
        {
            "id": request.id,
            "batch": batch,
            "round": round_,
            "digests": b"".join(request.digests),
            "bound": json.dumps(asdict(request.bound)),
            "done": False,
        }
        for request in requests
    ]


def split_digests(digests: bytes) -> list[bytes]:
    return [bytes(digests[start : start + _DIGEST]) for start in range(0, len(digests), _DIGEST)]


def read_call(row: Row[Any]) -> TeacherCall:
    return TeacherCall(
        row.model,
        row.outcome,
        row.input_tokens,
        row.output_tokens,
        row.cache_read_input_tokens,
        row.cache_creation_input_tokens,
        None if row.cost_nusd is None else row.cost_nusd / 1e9,
        row.billed_input_equivalent,
        row.usage_unknown,
        row.provider_request_id,
        row.duration_ms,
        row.failed,
    )


def chunks(rows: Sequence[dict[str, Any]]) -> Iterable[Sequence[dict[str, Any]]]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))


def write_states(connection: Connection, batch: str, states: Mapping[bytes, SampleState]) -> None:
    rows = [
        {"batch": batch, "digest": digest, **asdict(state)}
        for digest, state in sorted(states.items())
    ]
    insert = insert_into(connection.dialect.name, batch_samples)
    changed = {name: insert.excluded[name] for name in ("attempts", "tests", "failure", "outcome")}
    insert = insert.on_conflict_do_update(
        index_elements=[_SAMPLE.batch, _SAMPLE.digest], set_=changed
    )
    for part in chunks(rows):
        connection.execute(insert, list(part))


def drop_claims(
    connection: Connection, batch: StoredBatch, states: Mapping[bytes, SampleState]
) -> None:
    """Of the samples that have an outcome; one that is requested again stays claimed."""
    ended = sorted(digest for digest, state in states.items() if state.outcome is not None)
    for start in range(0, len(ended), _CHUNK):
        part = ended[start : start + _CHUNK]
        lock_digests(connection, part)
        delete_claims(connection, batch.owner, part)
