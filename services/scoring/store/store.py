"""The book as a whole: marks, claims and ledger in one database, and what touches several of them at once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError

from services.scoring.errors import StoreUnavailable
from services.scoring.store import claims, profiles
from services.scoring.store.audits import Audits
from services.scoring.store.claims import Claims
from services.scoring.store.database import Database
from services.scoring.store.engine import migrate, shown
from services.scoring.store.keys import ApiKeys
from services.scoring.store.ledger import Ledger
from services.scoring.store.life import FOR_EVER, Life
from services.scoring.store.marks import Marks, NewMark, Record
from services.scoring.store.money import Money
from services.scoring.store.profiles import Profile
from services.scoring.store.records import Records
from services.scoring.store.upkeep import Upkeep
from services.scoring.teachers.base import CRITERIA, Failure

log = logging.getLogger("markbook")


class Store:
    """Every method, its parts' too, may raise StoreUnavailable. `lease_ms`: how long a claim outlives its owner."""

    def __init__(self, database_url: str, lease_ms: int, life: Life = FOR_EVER) -> None:
        self._database = Database(database_url)
        self._owner = uuid.uuid4().hex
        self.marks = Marks(self._database, life)
        self.records = Records(self._database, self.marks)
        self.upkeep = Upkeep(self._database, life)
        self.claims = Claims(self._database, self.marks, self._owner, lease_ms)
        self.ledger = Ledger(self._database)
        self.money = Money(self._database, self._owner, lease_ms)
        self.audits = Audits(self._database)
        self.keys = ApiKeys(self._database)
        self.where = shown(self._database.engine.url)

    def open(
        self, profile: str, identity: Mapping[str, object], now_ms: int, criteria: Sequence[str] = CRITERIA
    ) -> None:
        """Migrate, and write down what `profile` stands for and what its marks' criteria are called.

        Blocks: called once, before the service listens.
        """
        self.migrate()
        mine = Profile(profile, identity, criteria, now_ms)
        known = self._database.write_now(lambda connection: profiles.add(connection, mine))
        self.marks.know(known.id, known.criteria)

    def migrate(self) -> None:
        """Bring the schema up to date, which `open` does too. Blocks."""
        try:
            migrate(self._database.engine)
        except DatabaseError as error:
            raise StoreUnavailable(f"the database {self.where} cannot be used: {error.orig}") from error

    async def record_group(
        self,
        at_ms: int,
        group_id: str,
        marked: Sequence[NewMark],
        failures: Mapping[bytes, Failure],
    ) -> None:
        """The marks of one group with their texts, and the end of its claims, in one transaction."""

        settled = [*(mark.fingerprint.digest for mark in marked), *failures]

        def work(connection: Connection) -> None:
            claims.lock_these(connection, settled)
            self.marks.add(connection, at_ms, [Record(mark, at_ms, group_id) for mark in marked])
            claims.drop(connection, self._owner, [mark.fingerprint.digest for mark in marked])
            claims.fail(connection, self._owner, failures)

        await self._database.insist(work)

    async def renew(self, now_ms: int) -> None:
        """Tell the other replicas that this one is alive, and clear up after those that are not."""
        await self.claims.renew(now_ms)
        await self.money.renew(now_ms)

    async def ping(self) -> None:
        await self._database.read(lambda connection: connection.execute(text("SELECT 1")))

    async def close(self) -> None:
        """Give back what this process still holds."""
        try:
            await self.claims.release()
            await self.money.close()
        except StoreUnavailable as error:
            log.warning("claims not given back, they end with their lease: %s", error.detail)
        await self._database.close()
