"""The store: marks, claims, budgets and ledger in one database, and the transactions that span
several of them.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from sqlalchemy import Connection, text

from markbook.config.settings import Budget
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.store import claims, ledger, mark_access, profiles
from markbook.scoring.store.agreement_counts import JudgedKind, OnJudged, judged_kinds
from markbook.scoring.store.alert_outbox import AlertOutbox
from markbook.scoring.store.api_keys import ApiKeys
from markbook.scoring.store.audits import Audits
from markbook.scoring.store.batches import Batches
from markbook.scoring.store.budget_alerts import LEVELS
from markbook.scoring.store.budgets import BudgetStore
from markbook.scoring.store.claims import Claims
from markbook.scoring.store.database import Database, Timed
from markbook.scoring.store.engine import migrate, redact_url
from markbook.scoring.store.explanations import Explanations
from markbook.scoring.store.lease_clock import LeaseClock
from markbook.scoring.store.ledger import Ledger, RequestLine
from markbook.scoring.store.maintenance import Maintenance
from markbook.scoring.store.mark_access import MarkAccess
from markbook.scoring.store.marks import Marks, NewMark, Record
from markbook.scoring.store.profiles import Profile
from markbook.scoring.store.recent_marks import Page
from markbook.scoring.store.records import Records
from markbook.scoring.store.retention import UNLIMITED, RetentionPolicy
from markbook.scoring.store.rollups import Rollups, build_rollups
from markbook.scoring.store.run_comparison import RunComparison
from markbook.scoring.store.run_metrics import ReportedMetrics
from markbook.scoring.store.sample_backfill import SampleBackfill
from markbook.scoring.store.sample_details import WholeSamples
from markbook.scoring.store.sample_rows import Weights
from markbook.scoring.store.samples import Samples
from markbook.scoring.store.settlement import CallContext, Settlement, settle
from markbook.scoring.store.test_verdicts import Verdicts
from markbook.scoring.store.tests_audits import TestsAudits
from markbook.scoring.types import CRITERIA, ScoringFailure, TeacherCall

log = logging.getLogger("markbook")


@dataclass(frozen=True, slots=True)
class StoreObservers:
    """`on_paid_twice` is called with the number of marks that another replica had already paid for
    and stored, `on_judged` for each sample that both the teacher and its tests have judged, once
    that is durable.
    """

    on_paid_twice: Callable[[int], None] = lambda _: None
    on_judged: OnJudged = lambda _: None


NO_OBSERVERS = StoreObservers()


class Store:
    """Every method, those of its parts too, may raise StoreUnavailableError.

    `lease_ms`: life of a claim after its owner's.

    `timed`: a context around each read and write (see Database). `alert_percent`: see BudgetWatch.
    `server_time`: leases use the database server's clock, where it has one, instead of the times
    given to the methods.
    """

    def __init__(
        self,
        database_url: str,
        lease_ms: int,
        retention: RetentionPolicy = UNLIMITED,
        timed: Timed = nullcontext,
        *,
        alert_percent: Sequence[int] = LEVELS,
        server_time: bool = False,
        observers: StoreObservers = NO_OBSERVERS,
    ) -> None:
        self._on_paid_twice = observers.on_paid_twice
        self._on_judged = observers.on_judged
        self._clock = LeaseClock(from_server=server_time)
        self._database = Database(database_url, timed)
        self._owner = uuid.uuid4().hex
        self.marks = Marks(self._database, retention)
        self.records = Records(self._database, self.marks)
        self.maintenance = Maintenance(self._database, retention)
        self.claims = Claims(self._database, self.marks, self._owner, lease_ms, self._clock)
        self.ledger = Ledger(self._database)
        self.run_metrics = ReportedMetrics(self._database)
        self.money = BudgetStore(self._database, self._owner, lease_ms, self._clock, alert_percent)
        self.batches = Batches(
            self._database, self._owner, lease_ms, self._clock, self.claims, self.marks, self.money
        )
        self.batches.on_judged = observers.on_judged
        self.alerts = AlertOutbox(self._database)
        self.audits = Audits(self._database)
        self.tests_audits = TestsAudits(self._database, observers.on_judged)
        self.verdicts = Verdicts(self._database)
        self.given = MarkAccess(self._database)
        self.keys = ApiKeys(self._database)
        self.page = Page(self._database, self.records, store_samples=retention.store_samples)
        self.samples = Samples(self._database, retention)
        self.whole_samples = WholeSamples(self._database, self.records, self.marks)
        self.explanations = Explanations(self._database)
        self.comparison = RunComparison(self._database)
        self.backfill = SampleBackfill(self._database, self.records, self.marks)
        self.where = redact_url(self._database.engine.url)

    def open(
        self,
        profile: str,
        identity: Mapping[str, object],
        now_ms: int,
        criteria: Sequence[str] = CRITERIA,
        weights: Weights | None = None,
    ) -> None:
        """Migrate, and register the inputs and the criteria of `profile`.

        Blocks: call it once, before serving.

        `weights`: how its marks are scored in the list of samples; None: those that are added have
        no score there.
        """
        self.migrate()
        self.marks.weights = weights
        mine = Profile(profile, identity, criteria, now_ms)
        known = self._database.write_sync(lambda connection: profiles.add(connection, mine))
        self._database.read_sync(self._clock.measure)
        self.marks.register_profile(known.id, known.criteria)

    def migrate(self) -> None:
        """Bring the schema up to date, as `open` does. Blocks."""
        try:
            migrate(self._database.engine)
        except Exception:  # re-raised; no connection may stay open
            self._database.engine.dispose()
            raise

    async def reserve(
        self,
        to_claim: Sequence[Fingerprint],
        context: CallContext,
        bound: TeacherCall,
        limits: Mapping[str, Sequence[Budget]],
        now_ms: int,
    ) -> str:
        """Before a call, in one transaction: claim `to_claim` and reserve `bound`.

        Returns the reservation's id.

        Raises ClaimConflictError or BudgetExceededError: then neither was done.
        """
        reservation = uuid.uuid4().hex

        def work(connection: Connection) -> None:
            self.claims.acquire(connection, to_claim, now_ms)
            self.money.reserve(connection, reservation, context, bound, limits, now_ms)

        await self._database.write(work)
        self.claims.track(each.digest for each in to_claim)
        self.money.track(reservation)
        return reservation

    async def settle(self, bills: Sequence[Settlement]) -> None:
        """Settle a call by itself; calls whose marks are stored are settled by `record_group`."""
        await self._write_with_retry(lambda connection, rollups: None, bills)

    async def record_group(
        self,
        at_ms: int,
        group_id: str,
        marked: Sequence[NewMark],
        failures: Mapping[bytes, ScoringFailure],
        bills: Sequence[Settlement] = (),
        lines: Sequence[RequestLine] = (),
        run: str = "",
    ) -> None:
        """After a call that `run` has paid for, in one transaction: store marks and texts, delete
        its claims, settle its cost, and write the ledger lines of the requests that it completes.
        """

        settled = [*(mark.fingerprint.digest for mark in marked), *failures]
        known: list[int] = []
        judged: list[JudgedKind] = []

        def work(connection: Connection, rollups: Rollups) -> None:
            claims.lock_digests(connection, settled)
            new = self.marks.add(
                connection, at_ms, [Record(mark, at_ms, group_id, run) for mark in marked]
            )
            known.append(len(marked) - len(new))
            judged[:] = judged_kinds([mark for mark in marked if mark.fingerprint.row in new])
            for kind in judged:
                rollups.add_judged(at_ms, run, kind)
            if known[-1] and run:
                mark_access.write(
                    connection, sorted({mark.fingerprint.row for mark in marked}), run
                )
            claims.delete_claims(
                connection, self._owner, [mark.fingerprint.digest for mark in marked]
            )
            claims.fail(connection, self._owner, failures)

        await self._write_with_retry(work, bills, lines)
        if known[
            0
        ]:  # of the first try: a later one may find its own marks, if only the answer was lost
            log.warning(
                "%d marks were paid for by another replica too: was this process paused for longer "
                "than its lease?",
                known[0],
            )
            self._on_paid_twice(known[0])
        for kind in judged:
            self._on_judged(kind)

    async def _write_with_retry(
        self,
        work: Callable[[Connection, Rollups], None],
        bills: Sequence[Settlement],
        lines: Sequence[RequestLine] = (),
    ) -> None:
        def work_and_settle(connection: Connection) -> None:
            rollups = build_rollups()
            work(connection, rollups)
            for bill in bills:
                settle(connection, bill, rollups)
            if lines:
                ledger.count(connection, lines, rollups)
            rollups.write(connection)  # after the balances: one order everywhere, against deadlocks

        try:
            await self._database.write_with_retry(work_and_settle)
        finally:
            self.money.untrack(bills)

    async def renew(self, now_ms: int) -> None:
        """Renew this replica's leases, and clean up after replicas that died."""
        await self.claims.renew(now_ms)
        await self.money.renew(now_ms)
        await self.batches.renew(now_ms)

    async def ping(self) -> None:
        await self._database.read(lambda connection: connection.execute(text("SELECT 1")))

    async def close(self) -> None:
        """Release what this process still holds."""
        try:
            await self.claims.release()
            await self.money.close()
            await self.keys.flush_last_used()
            await self.batches.close()
        except StoreUnavailableError as error:
            log.warning("could not release claims; they will expire with their lease: %s", error)
        await self._database.close()
