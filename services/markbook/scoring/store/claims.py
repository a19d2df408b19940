"""Claims: which replica is asking the teacher for a mark right now. A claim is a lease; a dead owner's runs out.

A claim is taken and the marks are looked at again in one transaction, and marks are stored in the same transaction that
drops their claims. So there is no moment at which a mark is neither in the book nor claimed by who will bring it. The
same transactions set the call's money aside and settle its bill (`Store.reserve`, `Store.record_group`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, update
from sqlalchemy.sql.dml import ReturningInsert

from markbook.contract import ErrorCode
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import tables
from markbook.scoring.store.database import Database
from markbook.scoring.store.lease_clock import TOLERANCE_MS, LeaseClock
from markbook.scoring.store.marks import Marks, StoredMark
from markbook.scoring.store.statements import insert_into, run
from markbook.scoring.types import ScoringFailure

KEEP_FAILURES_MS = 60_000


class ClaimConflict(Exception):
    """Not all that a caller wants is its to ask for, so nothing was claimed: `marks` came in the meantime, `asked`
    digests are being asked for by others."""

    def __init__(self, marks: Mapping[bytes, StoredMark], asked: frozenset[bytes]) -> None:
        super().__init__(f"{len(marks)} marks came meanwhile, {len(asked)} are asked for elsewhere")
        self.marks = marks
        self.asked = asked


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """What a caller that waits for others learned: failures to share, and digests that nobody brings any more."""

    failures: Mapping[bytes, ScoringFailure]
    free: frozenset[bytes]


class Claims:
    """The claims of one process, `owner`. Times are Unix milliseconds, of the process; leases are kept in `clock`'s."""

    def __init__(self, database: Database, marks: Marks, owner: str, lease_ms: int, clock: LeaseClock) -> None:
        self._database = database
        self._marks = marks
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock = clock
        self._asking: set[bytes] = set()

    def take(self, connection: Connection, wanted: Sequence[Fingerprint], now_ms: int) -> None:
        """Claim all of `wanted` or, with ClaimConflict, nothing.

        Free is what is not claimed, whose lease has run out or is further away than any can be, whose last call failed,
        or whose claim is this process's own: it asks for nothing twice at a time, so such a claim is left over from a
        call that has ended.
        """
        if not wanted:
            return
        lease_now = self._clock.now(now_ms)
        lease = {"lease_until_ms": lease_now + self._lease_ms, "now_ms": lease_now, "last_ms": self._last_ms(lease_now)}
        claim = {"owner": self._owner, "failure": None, **lease}
        # in one order everywhere, so that two replicas that want the same marks do not deadlock
        digests = sorted(each.digest for each in wanted)
        taken = run(connection, _take(connection.dialect.name), [{"digest": each, **claim} for each in digests])
        owned = {digest for (digest,) in taken.rows}
        marks = self._marks.find(connection, wanted, now_ms)
        if marks or len(owned) < len(digests):
            raise ClaimConflict(marks, frozenset(set(digests) - owned - marks.keys()))

    def keep(self, digests: Iterable[bytes]) -> None:
        """Their claims are taken: `renew` keeps them until `forget`."""
        self._asking.update(digests)

    @property
    def held(self) -> int:
        """How many marks this process is asking for."""
        return len(self._asking)

    def forget(self, digests: Iterable[bytes]) -> None:
        """These are asked for no more, whatever came of it: a claim that is still there ends with its lease."""
        self._asking.difference_update(digests)

    async def look(self, digests: Sequence[bytes], now_ms: int) -> ClaimStatus:
        """How the calls of others stand. A failure seen here is newer than the wait: an old one is claimed anew."""
        claims, lease_now = tables.claims.c, self._clock.now(now_ms)
        query = select(claims.digest, claims.lease_until_ms, claims.failure).where(claims.digest.in_(digests))

        def work(connection: Connection) -> ClaimStatus:
            failures: dict[bytes, ScoringFailure] = {}
            busy: set[bytes] = set()
            for row in connection.execute(query):
                if row.failure is not None:
                    failures[row.digest] = _failure(row.failure)
                elif lease_now <= row.lease_until_ms <= self._last_ms(lease_now):
                    busy.add(row.digest)
            return ClaimStatus(failures, frozenset(set(digests) - failures.keys() - busy))

        return await self._database.read(work)

    async def renew(self, now_ms: int) -> None:
        """Push the leases of what this process is asking for out by a whole lease; drop failures nobody waits for."""
        claims = tables.claims.c
        mine = and_(claims.owner == self._owner, claims.failure.is_(None), claims.digest.in_(self._asking))

        def work(connection: Connection) -> None:
            self._clock.measure(connection)
            lease_now = self._clock.now(now_ms)
            told = and_(claims.failure.is_not(None), claims.lease_until_ms < lease_now - KEEP_FAILURES_MS)
            locked = lock(connection, or_(mine, told))
            held = update(tables.claims).where(mine, claims.digest.in_(locked))
            connection.execute(held.values(lease_until_ms=lease_now + self._lease_ms))
            connection.execute(delete(tables.claims).where(told, claims.digest.in_(locked)))

        await self._database.write(work)

    def _last_ms(self, lease_now: int) -> int:
        """The furthest that a lease can be away."""
        return lease_now + self._lease_ms + TOLERANCE_MS

    async def release(self) -> None:
        """Give back every claim of this process, at its end."""
        mine = tables.claims.c.owner == self._owner

        def work(connection: Connection) -> None:
            lock(connection, mine)
            connection.execute(delete(tables.claims).where(mine))

        await self._database.write(work)


@cache  # here and below: to make a statement takes longer than to run it
def _take(dialect: str) -> ReturningInsert[bytes]:
    claims, insert = tables.claims.c, insert_into(dialect, tables.claims)
    insert = insert.on_conflict_do_update(
        index_elements=[claims.digest],
        set_={name: insert.excluded[name] for name in ("owner", "lease_until_ms", "failure")},
        where=or_(
            claims.lease_until_ms < bindparam("now_ms"),
            claims.lease_until_ms > bindparam("last_ms"),
            claims.failure.is_not(None),
            claims.owner == insert.excluded.owner,
        ),
    )
    return insert.returning(claims.digest)  # RETURNING makes it one statement for all rows


def lock(connection: Connection, which: ColumnElement[bool]) -> list[bytes]:
    """Lock claims in the order in which `take` does: writers in different orders would deadlock."""
    digest = tables.claims.c.digest
    return list(connection.execute(select(digest).where(which).order_by(digest).with_for_update()).scalars())


_DROP = delete(tables.claims).where(
    tables.claims.c.owner == bindparam("dropped_by"), tables.claims.c.digest.in_(bindparam("gone", expanding=True))
)


_THESE = (
    select(tables.claims.c.digest)
    .where(tables.claims.c.digest.in_(bindparam("settled", expanding=True)))
    .order_by(tables.claims.c.digest)
    .with_for_update()
)


def lock_these(connection: Connection, digests: Sequence[bytes]) -> None:
    if connection.dialect.name == "postgresql":  # on SQLite a writer is alone
        run(connection, _THESE, [{"settled": digests}])


def drop(connection: Connection, owner: str, digests: Iterable[bytes]) -> None:
    """The claims are answered: their marks are in the book."""
    if gone := list(digests):
        run(connection, _DROP, [{"dropped_by": owner, "gone": gone}])


def fail(connection: Connection, owner: str, failures: Mapping[bytes, ScoringFailure]) -> None:
    """Leave the failures for those who wait. They are no marks: whoever asks next claims them anew."""
    if failures:
        claims = tables.claims.c
        statement = update(tables.claims).where(claims.owner == owner, claims.digest == bindparam("failed"))
        rows = [{"failed": digest, "failure": json.dumps(asdict(failure))} for digest, failure in failures.items()]
        connection.execute(statement, rows)


def _failure(text: str) -> ScoringFailure:
    values = json.loads(text)
    return ScoringFailure(ErrorCode(values["code"]), values["detail"], values["retry_after_s"])
