"""Batches: every step that a batch takes is one transaction, by the process that holds its lease.

    queued --plan--> sending --begin_send, mark_sent--> sent --record (each result), requeue-->
    queued --finish--> ended

Claims and reservations of a batch belong to it, not to a process (`BATCH_OWNER`): they end with it.
A process that lost its lease writes nothing (`BatchTakenError`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, or_, select, update

from markbook.config.settings import Budget
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import ledger, mark_access, tables
from markbook.scoring.store.agreement_counts import JudgedKind, OnJudged, judged_kinds
from markbook.scoring.store.batch_rows import (
    NewResult,
    SampleState,
    StoredBatch,
    StoredRequest,
    chunks,
    drop_claims,
    read_batch,
    read_call,
    request_rows,
    split_digests,
    write_states,
)
from markbook.scoring.store.batch_tables import (
    ENDED,
    QUEUED,
    SENDING,
    SENT,
    batch_requests,
    batch_samples,
    batches,
)
from markbook.scoring.store.budgets import BudgetStore
from markbook.scoring.store.claims import Claims, lock, lock_digests
from markbook.scoring.store.database import Database
from markbook.scoring.store.lease_clock import TOLERANCE_MS, LeaseClock
from markbook.scoring.store.ledger import RequestLine
from markbook.scoring.store.marks import Marks, Record, StoredMark
from markbook.scoring.store.permissions import Viewer
from markbook.scoring.store.rollups import build_rollups
from markbook.scoring.store.settlement import CallContext, Settlement, settle
from markbook.scoring.store.statements import insert_new
from markbook.scoring.types import TeacherCall

_BATCH, _SAMPLE, _REQUEST = batches.c, batch_samples.c, batch_requests.c


class BatchTakenError(Exception):
    """Another process has the lease: this one was paused for longer than it lasts."""


class Batches:
    """The batches of all processes; this one is `owner`. Times are Unix milliseconds."""

    def __init__(
        self,
        database: Database,
        owner: str,
        lease_ms: int,
        clock: LeaseClock,
        claims: Claims,
        marks: Marks,
        money: BudgetStore,
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease_ms = lease_ms
        self._clock = clock
        self._claims = claims
        self._marks = marks
        self._money = money
        self._held: set[str] = set()
        self.on_judged: OnJudged = lambda _: None
        """Called for each sample that both the teacher and its tests have judged, once that is
        durable.
        """

    def now(self, now_ms: int) -> int:
        """The time that `due_ms` and `send_ms` are in: the same for all replicas."""
        return self._clock.now(now_ms)

    async def add(
        self,
        batch: str,
        run: str,
        key: str | None,
        profile: str,
        samples: int,
        body: bytes,
        now_ms: int,
    ) -> None:
        """Store a new batch; one that is stored already stays as it is."""
        row: dict[str, Any] = {
            "id": batch,
            "run": run,
            "key": key,
            "profile": bytes.fromhex(profile),
            "state": QUEUED,
        }
        row |= {"samples": samples, "body": body, "round": 0, "requests": 0, "lease_until_ms": 0}
        row |= {"due_ms": self.now(now_ms), "created_ms": now_ms}
        await self._database.write(lambda connection: insert_new(connection, batches, [row]))

    async def get(self, viewer: Viewer, batch: str) -> StoredBatch | None:
        """None where there is no such batch, or it is of a run that the viewer may not use."""
        query = select(batches).where(_BATCH.id == batch)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None or not viewer.may_use(row.run) else read_batch(row)

    async def acquire(self, profile: str, now_ms: int) -> StoredBatch | None:
        """The lease of a batch that is due, the longest due first; None: no batch is due."""
        lease_now = self._clock.now(now_ms)
        until_ms = lease_now + self._lease_ms
        lost = or_(
            _BATCH.lease_until_ms < lease_now, _BATCH.lease_until_ms > until_ms + TOLERANCE_MS
        )
        mine = sorted(self._held)  # even if this process was paused for longer than its lease
        due = (
            select(_BATCH.id)
            .where(_BATCH.state.in_((QUEUED, SENDING, SENT)), _BATCH.due_ms <= lease_now)
            .where(_BATCH.profile == bytes.fromhex(profile), or_(_BATCH.owner.is_(None), lost))
            .where(_BATCH.id.not_in(mine))
            .order_by(_BATCH.due_ms, _BATCH.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )

        def work(connection: Connection) -> StoredBatch | None:
            batch = connection.scalar(due)
            if batch is None:
                return None
            take = (
                update(batches)
                .where(_BATCH.id == batch)
                .values(owner=self._owner, lease_until_ms=until_ms)
            )
            return read_batch(connection.execute(take.returning(batches)).one())

        taken = await self._database.write(work)
        if taken is not None:
            self._held.add(taken.id)
        return taken

    def untrack(self, batch: str) -> None:
        """Stop renewing its lease."""
        self._held.discard(batch)

    async def renew(self, now_ms: int) -> None:
        """Renew the leases of the batches that this process works on."""
        if self._held:
            until_ms = self._clock.now(now_ms) + self._lease_ms
            mine = update(batches).where(
                _BATCH.owner == self._owner, _BATCH.id.in_(sorted(self._held))
            )
            await self._database.write(
                lambda connection: connection.execute(mine.values(lease_until_ms=until_ms))
            )

    async def close(self) -> None:
        """Give every lease back, at shutdown."""
        mine = update(batches).where(_BATCH.owner == self._owner).values(owner=None)
        await self._database.write(lambda connection: connection.execute(mine))

    async def release(self, batch: str, wait_ms: int, now_ms: int) -> None:
        """Give the lease back; the batch is due again in `wait_ms`."""
        values = {"owner": None, "due_ms": self.now(now_ms) + wait_ms}
        await self._database.write(lambda connection: self._set(connection, batch, values, now_ms))

    async def samples(self, batch: str) -> dict[bytes, SampleState]:
        """Samples that were asked for or have an outcome, by digest."""
        query = select(batch_samples).where(_SAMPLE.batch == batch)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {
            bytes(row.digest): SampleState(row.attempts, row.tests, row.failure, row.outcome)
            for row in rows
        }

    async def open_requests(self, batch: str, round_: int) -> list[StoredRequest]:
        """Requests of a round whose result is not stored yet."""
        query = select(batch_requests).where(
            _REQUEST.batch == batch, _REQUEST.round == round_, ~_REQUEST.done
        )
        rows = await self._database.read(
            lambda connection: connection.execute(query.order_by(_REQUEST.id)).all()
        )
        return [
            StoredRequest(row.id, split_digests(row.digests), TeacherCall(**json.loads(row.bound)))
            for row in rows
        ]

    async def provider_ids(self) -> set[str]:
        """Batches at the provider that are known to be ours."""
        query = select(_BATCH.provider_id).where(_BATCH.provider_id.is_not(None))
        return set(
            await self._database.read(lambda connection: connection.execute(query).scalars().all())
        )

    async def bills(self, batch: str) -> list[tuple[Sequence[bytes], TeacherCall]]:
        """Settled requests so far: their samples and what they cost."""
        call = tables.calls.c
        query = select(_REQUEST.digests, tables.calls).join(tables.calls, call.id == _REQUEST.id)
        rows = await self._database.read(
            lambda connection: connection.execute(
                query.where(_REQUEST.batch == batch).order_by(_REQUEST.id)
            ).all()
        )
        return [(split_digests(row.digests), read_call(row)) for row in rows]

    async def resolve(
        self, batch: StoredBatch, states: Mapping[bytes, SampleState], now_ms: int
    ) -> None:
        """Store outcomes that cost nothing, and drop the claims on their samples."""

        def work(connection: Connection) -> None:
            self._set(connection, batch.id, {}, now_ms)
            write_states(connection, batch.id, states)
            drop_claims(connection, batch, states)

        await self._database.write(work)

    async def claim(
        self, batch: StoredBatch, wanted: Sequence[Fingerprint], now_ms: int
    ) -> tuple[set[bytes], dict[bytes, StoredMark]]:
        """Claim the samples that no call and no other batch has claimed: their digests; and
        marks stored by now.
        """

        def work(connection: Connection) -> tuple[set[bytes], dict[bytes, StoredMark]]:
            self._set(connection, batch.id, {}, now_ms)
            return self._claims.acquire_free(connection, batch.owner, wanted, now_ms)

        return await self._database.write(work)

    async def plan(
        self,
        batch: StoredBatch,
        requests: Sequence[tuple[StoredRequest, CallContext]],
        states: Mapping[bytes, SampleState],
        limits: Mapping[str, Sequence[Budget]],
        now_ms: int,
    ) -> StoredBatch:
        """Reserve the bounds of a round's requests and store them: all of it or, over a budget,
        nothing.

        Raises BudgetExceededError.
        """
        planned = replace(
            batch,
            state=SENDING,
            round=batch.round + 1,
            requests=len(requests),
            provider_id=None,
            send_ms=None,
        )
        names = ("state", "round", "requests", "provider_id", "send_ms")

        def work(connection: Connection) -> None:
            self._set(
                connection, batch.id, {name: getattr(planned, name) for name in names}, now_ms
            )
            for request, context in requests:
                self._money.reserve(
                    connection, request.id, context, request.bound, limits, now_ms, watched=False
                )
            rows = request_rows(batch.id, planned.round, [request for request, _ in requests])
            held = tables.reservations.c
            for part in chunks(rows):
                insert_new(connection, batch_requests, part)
                ids = [row["id"] for row in part]
                connection.execute(
                    update(tables.reservations).where(held.id.in_(ids)).values(owner=batch.owner)
                )
            write_states(connection, batch.id, states)

        await self._database.write(work)
        return planned

    async def begin_send(self, batch: StoredBatch, now_ms: int) -> StoredBatch:
        """Note that the current round is about to be sent: from now on the provider may have it."""
        return await self._move(batch, {"send_ms": self.now(now_ms)}, now_ms)

    async def mark_unsent(self, batch: StoredBatch, now_ms: int) -> StoredBatch:
        """Note that the provider certainly does not have the current round."""
        return await self._move(batch, {"send_ms": None}, now_ms)

    async def mark_sent(self, batch: StoredBatch, provider_id: str, now_ms: int) -> StoredBatch:
        values = {"state": SENT, "provider_id": provider_id}
        # kept up through an outage of the database: it is paid for, and searching for it takes long
        await self._database.write_with_retry(
            lambda connection: self._set(connection, batch.id, values, now_ms)
        )
        return replace(batch, state=SENT, provider_id=provider_id)

    async def requeue(self, batch: StoredBatch, now_ms: int) -> StoredBatch:
        """Every request of the round has its result: what is open may be requested again."""
        return await self._move(batch, {"state": QUEUED}, now_ms)

    async def record(self, batch: StoredBatch, result: NewResult, now_ms: int) -> None:
        """Store what one request brought: marks, bill and outcomes.

        A result that is stored already is left out.
        """
        context = CallContext(batch.run, result.group_id, len(result.states), batch.key)
        bill = Settlement(result.request.id, context, result.request.bound, result.bill, now_ms)
        digests = sorted(result.states)
        done = (
            update(batch_requests)
            .where(_REQUEST.id == result.request.id, ~_REQUEST.done)
            .values(done=True)
        )
        judged: list[JudgedKind] = []

        def work(connection: Connection) -> None:
            self._set(connection, batch.id, {}, now_ms)
            if not connection.execute(done).rowcount:
                return
            lock_digests(connection, digests)
            records = [Record(mark, now_ms, result.group_id, batch.run) for mark in result.marked]
            new = self._marks.add(connection, now_ms, records)
            judged[:] = judged_kinds(
                [mark for mark in result.marked if mark.fingerprint.row in new]
            )
            if len(new) < len(records):
                rows = sorted({mark.fingerprint.row for mark in result.marked})
                mark_access.write(connection, rows, batch.run)
            write_states(connection, batch.id, result.states)
            drop_claims(connection, batch, result.states)
            rollups = build_rollups()
            for kind in judged:
                rollups.add_judged(now_ms, batch.run, kind)
            settle(connection, bill, rollups)
            rollups.write(connection)

        await self._database.write_with_retry(work)
        for kind in judged:
            self.on_judged(kind)

    async def finish(
        self, batch: StoredBatch, response: bytes, line: RequestLine, now_ms: int
    ) -> None:
        """Store the results and count the request; what was needed until then is deleted."""
        values = {
            "state": ENDED,
            "response": response,
            "body": None,
            "ended_ms": now_ms,
            "owner": None,
        }

        def work(connection: Connection) -> None:
            self._set(connection, batch.id, values, now_ms)
            ledger.count(connection, [line], build_rollups()).write(connection)
            connection.execute(delete(batch_samples).where(_SAMPLE.batch == batch.id))
            left = tables.claims.c.owner == batch.owner
            lock(connection, left)
            connection.execute(delete(tables.claims).where(left))

        await self._database.write(work)

    async def _move(
        self, batch: StoredBatch, values: Mapping[str, Any], now_ms: int
    ) -> StoredBatch:
        await self._database.write(
            lambda connection: self._set(connection, batch.id, values, now_ms)
        )
        return replace(batch, **values)

    def _set(
        self, connection: Connection, batch: str, values: Mapping[str, Any], now_ms: int
    ) -> None:
        """Update the row, and renew its lease.

        Raises BatchTakenError where another process has it by now.
        """
        until_ms = self._clock.now(now_ms) + self._lease_ms
        mine = update(batches).where(_BATCH.id == batch, _BATCH.owner == self._owner)
        if connection.execute(mine.values({"lease_until_ms": until_ms, **values})).rowcount != 1:
            raise BatchTakenError(f"batch {batch} is worked on by another process")
