"""Claims: which replica is asking the teacher for a mark right now.

A claim is a lease that expires.

Claiming and a second look at the marks are one transaction, and marks are stored in the transaction
that deletes their claims: at no moment is a mark neither stored nor claimed by the replica that
will store it. The same transactions reserve the call's cost and settle it (`Store.reserve`,
`Store.record_group`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert

from markbook.contract import ErrorCode
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.lease_clock import BATCH_OWNER, TOLERANCE_MS, LeaseClock
from markbook.scoring.store.marks import Marks, StoredMark
from markbook.scoring.store.statements import insert_into, run
from markbook.scoring.types import ScoringFailure

KEEP_FAILURES_MS = 60_000
IN_BATCH = ScoringFailure(
    ErrorCode.IN_BATCH,
    "a batch has asked for this sample, and may take a day: its mark is stored when that ends",
    60.0,
)
_CHUNK = 500
"""Marks per statement, far below the databases' limits for parameters."""


class ClaimConflictError(Exception):
    """Not everything could be claimed, so nothing was: `marks` were stored in the meantime, `asked`
    digests are claimed by other replicas.
    """

    def __init__(self, marks: Mapping[bytes, StoredMark], asked: frozenset[bytes]) -> None:
        super().__init__(
            f"{len(marks)} marks are stored by now, {len(asked)} are claimed by other replicas"
        )
        self.marks = marks
        self.asked = asked


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """Claims of other replicas: their failures, and the digests that are not claimed any more."""

    failures: Mapping[bytes, ScoringFailure]
    free: frozenset[bytes]


class Claims:
    """The claims of one process, `owner`.

    Times are the process's Unix milliseconds; leases use `clock`'s.
    """

    def __init__(
        self, database: Database, marks: Marks, owner: str, lease_ms: int, clock: LeaseClock
    ) -> None:
        self._database = database
        self._marks = marks
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock = clock
        self._tracked: set[bytes] = set()

    def acquire(self, connection: Connection, wanted: Sequence[Fingerprint], now_ms: int) -> None:
        """Claim all of `wanted`, or nothing and raise ClaimConflictError.

        A digest is free if it is not claimed, if its lease has expired or ends later than any lease
        can, if its last call failed, or if the claim is this process's own: it never asks for a
        mark twice at a time, so such a claim is left over from a call that has ended.
        """
        if not wanted:
            return
        owned, marks = self._take(connection, self._owner, wanted, now_ms)
        if marks or len(owned) < len(wanted):
            raise ClaimConflictError(
                marks, frozenset({each.digest for each in wanted} - owned - marks.keys())
            )

    def acquire_free(
        self, connection: Connection, owner: str, wanted: Sequence[Fingerprint], now_ms: int
    ) -> tuple[set[bytes], dict[bytes, StoredMark]]:
        """Claim for `owner` what is free of `wanted`: its digests, and the marks that are stored
        by now instead.
        """
        claimed: set[bytes] = set()
        stored: dict[bytes, StoredMark] = {}
        ordered = sorted(wanted, key=lambda each: each.digest)
        for start in range(0, len(ordered), _CHUNK):
            owned, marks = self._take(connection, owner, ordered[start : start + _CHUNK], now_ms)
            delete_claims(connection, owner, owned & marks.keys())
            claimed |= owned - marks.keys()
            stored |= marks
        return claimed, stored

    def _take(
        self, connection: Connection, owner: str, wanted: Sequence[Fingerprint], now_ms: int
    ) -> tuple[set[bytes], dict[bytes, StoredMark]]:
        lease_now = self._clock.now(now_ms)
        lease = {
            "lease_until_ms": lease_now + self._lease_ms,
            "now_ms": lease_now,
            "last_ms": self._last_ms(lease_now),
        }
        claim = {"owner": owner, "failure": None, **lease}
        # sorted everywhere, so that two replicas that claim the same marks do not deadlock
        digests = sorted(each.digest for each in wanted)
        taken = run(
            connection,
            _claim_statement(connection.dialect.name),
            [{"digest": each, **claim} for each in digests],
        )
        return {digest for (digest,) in taken.rows}, self._marks.find(connection, wanted, now_ms)

    def track(self, digests: Iterable[bytes]) -> None:
        """Have `renew` renew the claims of these digests until `untrack`."""
        self._tracked.update(digests)

    @property
    def held(self) -> int:
        """Number of marks this process has claimed."""
        return len(self._tracked)

    def untrack(self, digests: Iterable[bytes]) -> None:
        """Stop renewing these: claims that still exist end with their lease."""
        self._tracked.difference_update(digests)

    async def poll(self, digests: Sequence[bytes], now_ms: int) -> ClaimStatus:
        """The state of other replicas' claims.

        A failure is newer than the wait for it: an older one can be claimed.

        What a batch has claimed fails at once: no request waits for a day.
        """
        claims, lease_now = tables.claims.c, self._clock.now(now_ms)
        query = select(claims.digest, claims.owner, claims.lease_until_ms, claims.failure)
        query = query.where(claims.digest.in_(digests))

        def work(connection: Connection) -> ClaimStatus:
            failures: dict[bytes, ScoringFailure] = {}
            busy: set[bytes] = set()
            for row in connection.execute(query):
                if row.owner.startswith(BATCH_OWNER):
                    failures[row.digest] = IN_BATCH
                elif row.failure is not None:
                    failures[row.digest] = _failure(row.failure)
                elif lease_now <= row.lease_until_ms <= self._last_ms(lease_now):
                    busy.add(row.digest)
            return ClaimStatus(failures, frozenset(set(digests) - failures.keys() - busy))

        return await self._database.read(work)

    async def renew(self, now_ms: int) -> None:
        """Renew this process's leases and delete failures that no request waits for any more."""
        claims = tables.claims.c
        mine = and_(
            claims.owner == self._owner, claims.failure.is_(None), claims.digest.in_(self._tracked)
        )

        def work(connection: Connection) -> None:
            self._clock.measure(connection)
            lease_now = self._clock.now(now_ms)
            failed = and_(
                claims.failure.is_not(None), claims.lease_until_ms < lease_now - KEEP_FAILURES_MS
            )
            locked = lock(connection, or_(mine, failed))
            held = update(tables.claims).where(mine, claims.digest.in_(locked))
            connection.execute(held.values(lease_until_ms=lease_now + self._lease_ms))
            connection.execute(delete(tables.claims).where(failed, claims.digest.in_(locked)))

        await self._database.write(work)

    def _last_ms(self, lease_now: int) -> int:
        """The latest end that a lease can have."""
        return lease_now + self._lease_ms + TOLERANCE_MS

    async def release(self) -> None:
        """Delete every claim of this process, at shutdown."""
        mine = tables.claims.c.owner == self._owner

        def work(connection: Connection) -> None:
            lock(connection, mine)
            connection.execute(delete(tables.claims).where(mine))

        await self._database.write(work)


@cache  # here and below: building a statement takes longer than running it
def _claim_statement(dialect: str) -> ReturningInsert[bytes]:
    claims, insert = tables.claims.c, insert_into(dialect, tables.claims)
    insert = insert.on_conflict_do_update(
        index_elements=[claims.digest],
        set_={name: insert.excluded[name] for name in ("owner", "lease_until_ms", "failure")},
        where=or_(
            and_(
                _no_batch(claims.owner),
                or_(
                    claims.lease_until_ms < bindparam("now_ms"),
                    claims.lease_until_ms > bindparam("last_ms"),
                    claims.failure.is_not(None),
                ),
            ),
            claims.owner == insert.excluded.owner,
        ),
    )
    return insert.returning(claims.digest)  # with RETURNING it is one statement for all rows


def _no_batch(owner: Column[str]) -> ColumnElement[bool]:
    """Without parameters, which `statements.run` would take for columns."""
    size: ColumnElement[int] = literal_column(str(len(BATCH_OWNER)))
    return func.substr(owner, literal_column("1"), size) != literal_column(f"'{BATCH_OWNER}'")


def lock(connection: Connection, which: ColumnElement[bool]) -> list[bytes]:
    """Lock claims in the order in which `acquire` does: different orders would deadlock."""
    digest = tables.claims.c.digest
    return list(
        connection.execute(select(digest).where(which).order_by(digest).with_for_update()).scalars()
    )


_DELETE = delete(tables.claims).where(
    tables.claims.c.owner == bindparam("dropped_by"),
    tables.claims.c.digest.in_(bindparam("gone", expanding=True)),
)


_LOCK = (
    select(tables.claims.c.digest)
    .where(tables.claims.c.digest.in_(bindparam("settled", expanding=True)))
    .order_by(tables.claims.c.digest)
    .with_for_update()
)


def lock_digests(connection: Connection, digests: Sequence[bytes]) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        run(connection, _LOCK, [{"settled": digests}])


def delete_claims(connection: Connection, owner: str, digests: Iterable[bytes]) -> None:
    """Delete the claims of marks that are stored."""
    if gone := list(digests):
        run(connection, _DELETE, [{"dropped_by": owner, "gone": gone}])


def fail(connection: Connection, owner: str, failures: Mapping[bytes, ScoringFailure]) -> None:
    """Leave the failures for replicas that wait.

    They are no marks: the next request claims them again.
    """
    if failures:
        claims = tables.claims.c
        statement = update(tables.claims).where(
            claims.owner == owner, claims.digest == bindparam("failed")
        )
        rows = [
            {"failed": digest, "failure": json.dumps(asdict(failure))}
            for digest, failure in failures.items()
        ]
        connection.execute(statement, rows)


def _failure(text: str) -> ScoringFailure:
    values = json.loads(text)
    return ScoringFailure(ErrorCode(values["code"]), values["detail"], values["retry_after_s"])
