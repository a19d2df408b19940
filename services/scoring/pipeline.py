"""One sample's way through the service, top to bottom.

    extract -> fingerprint -> claim here -> store          -- hit ----> cache
                                         -> tier           -- reject -> heuristic
                                         -> claim in store -> teacher -> teacher, stored before anyone sees it
    someone else has the claim           -> wait           -----------> what the other got (coalesced)

Every sample is counted once: the sources and the failures sum to the samples asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from services.scoring.answer import line_of, results_of, usage_of
from services.scoring.asking import Asker, Item, Mark, Outcome
from services.scoring.errors import ServiceStopping, StoreUnavailable
from services.scoring.extraction import EXTRACTOR_VERSION, extract
from services.scoring.fingerprint import fingerprint, profile_of
from services.scoring.heuristics import Tier
from services.scoring.languages import canonical
from services.scoring.ledger import LedgerWriter
from services.scoring.prompting import TEMPLATE_VERSION, plain_tokens
from services.scoring.rubric import Rubric
from services.scoring.single_flight import SingleFlight
from services.scoring.store import Store, StoredMark
from services.scoring.teachers.base import Call, Teacher
from services.scoring.together import all_of, end_of
from shared.contract import Sample, ScoreRequest, ScoreResponse, Source
from shared.settings import Config

log = logging.getLogger("markbook")

POLL_S = 0.1
"""Seconds between looks at what another replica is asking: small beside a teacher's answer, cheap for the database."""


class Pipeline:
    """Marks samples. `clock_ms` gives Unix milliseconds."""

    def __init__(
        self, config: Config, teacher: Teacher, store: Store, tier: Tier, rubric: Rubric, clock_ms: Callable[[], int]
    ) -> None:
        self._config = config
        self._teacher = teacher
        self._store = store
        self._tier = tier
        self._rubric = rubric
        self._asker = Asker(config, teacher, store, rubric, clock_ms)
        self._clock_ms = clock_ms
        self._ledger = LedgerWriter(store)
        self._flights: SingleFlight[bytes, Outcome] = SingleFlight()
        self._leading: set[asyncio.Task[list[Call]]] = set()
        self.identity = mark_identity(config, teacher, rubric)
        self.profile = profile_of(self.identity)

    async def score(self, request: ScoreRequest) -> ScoreResponse:
        """Results in the order of the samples. Raises StoreUnavailable when nothing can be looked up or kept."""
        items = [self._prepare(sample) for sample in request.samples]
        by_digest = {item.print.digest: item for item in items}
        flights, led = self._flights.claim(by_digest)
        # A task of its own: a caller that goes away does not cancel the call that others wait for.
        lead = asyncio.create_task(self._lead(request.run, [by_digest[digest] for digest in led]))
        self._leading.add(lead)
        lead.add_done_callback(lambda task: self._landed(task, led))
        outcomes = {digest: await asyncio.shield(flight) for digest, flight in flights.items()}
        calls = await asyncio.shield(lead)
        results = list(results_of(items, outcomes, led, self.profile))
        await self._ledger.write(line_of(request, items, results, self._clock_ms(), self._plain_tokens(items)))
        return ScoreResponse(results=results, usage=usage_of(calls))

    async def keep_leases(self, lease_s: float) -> None:
        """Until cancelled: tell the other replicas that this one is alive, and clear up after those that are not."""
        while True:
            await asyncio.sleep(lease_s / 3)
            try:
                await self._store.renew(self._clock_ms())
            except StoreUnavailable as error:
                log.warning("claims not renewed, another replica may ask again: %s", error.detail)

    async def close(self, grace_s: float) -> None:
        """Let the calls in progress finish: they are paid for, so their marks are kept. Then give the claims back."""
        if self._leading:
            _, late = await asyncio.wait(self._leading, timeout=grace_s)
            for lead in late:
                lead.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _prepare(self, sample: Sample) -> Item:
        language = canonical(sample.language)
        code = extract(sample.code, language).code
        return Item(sample.prompt, language, code, fingerprint(self.profile, sample.prompt, code, language))

    async def _lead(self, run: str, items: Sequence[Item]) -> list[Call]:
        """Land the flight of every item; returns what was paid on the way."""
        stored = await self._store.marks.get([item.print for item in items])
        asking = self._land_stored(items, stored, Source.CACHE)
        if self._config.rlaif.use_tiered_scoring:
            asking = await self._reject(asking)
        calls: list[Call] = []
        while asking:
            taken = await self._store.claims.take([item.print for item in asking], self._clock_ms())
            asking = self._land_stored(asking, taken.marks, Source.COALESCED)
            mine = [item for item in asking if item.print.digest in taken.owned]
            theirs = [item for item in asking if item.print.digest not in taken.owned]
            groups = [self._ask(run, group) for group in self._asker.groups(mine)]
            asked = asyncio.create_task(all_of(groups))
            waited = asyncio.create_task(self._wait_for_others(theirs))
            await end_of([asked, waited])
            calls += [call for bill in asked.result() for call in bill]
            asking = waited.result()
        return calls

    async def _reject(self, items: Sequence[Item]) -> list[Item]:
        """Land what the heuristic tier rejects; returns what the teacher must see."""
        judgements = await self._tier.judge([(item.code, item.prompt, item.language) for item in items])
        passed: list[Item] = []
        for item, judgement in zip(items, judgements, strict=True):
            if judgement.score < self._config.rlaif.heuristic_score_threshold:
                self._land(item, Mark(Source.HEURISTIC, judgement.score, None, judgement.reasons))
            else:
                passed.append(item)
        return passed

    async def _ask(self, run: str, group: Sequence[Item]) -> list[Call]:
        try:
            outcomes, calls = await self._asker.ask(run, group)
        finally:
            self._store.claims.forget(item.print.digest for item in group)
        for item, outcome in zip(group, outcomes, strict=True):
            self._land(item, outcome)
        return calls

    async def _wait_for_others(self, items: Sequence[Item]) -> list[Item]:
        """Land what other replicas bring; returns, for another try, what is left once some of it is claimed no more."""
        waiting = list(items)
        free: frozenset[bytes] = frozenset()
        while waiting and not free:
            await asyncio.sleep(POLL_S)
            stored = await self._store.marks.get([item.print for item in waiting])
            waiting = self._land_stored(waiting, stored, Source.COALESCED)
            seen = await self._store.claims.look([item.print.digest for item in waiting], self._clock_ms())
            for item in waiting:
                if failure := seen.failures.get(item.print.digest):
                    self._land(item, failure)
            waiting = [item for item in waiting if item.print.digest not in seen.failures]
            free = seen.free
        return waiting

    def _land_stored(self, items: Sequence[Item], stored: Mapping[bytes, StoredMark], source: Source) -> list[Item]:
        """Land the items that have a mark in the book; returns the others."""
        missing: list[Item] = []
        for item in items:
            if mark := stored.get(item.print.digest):
                self._land(item, Mark(source, self._rubric.score(mark.criteria), mark.criteria, mark.reasons))
            else:
                missing.append(item)
        return missing

    def _land(self, item: Item, outcome: Outcome) -> None:
        self._flights.land(item.print.digest, outcome)

    def _landed(self, lead: asyncio.Task[list[Call]], led: Sequence[bytes]) -> None:
        """Nobody waits for ever: when a lead ends early, its error goes to all who wait for its samples."""
        self._leading.discard(lead)
        error = ServiceStopping("the service stopped before the marks came") if lead.cancelled() else lead.exception()
        if error is not None:
            self._flights.crash(led, error)

    def _plain_tokens(self, items: Sequence[Item]) -> int:
        """What the plain way would have sent. Nothing to the stand-in: it is paid nothing, so nothing is saved."""
        if self._teacher.stand_in:
            return 0
        return sum(plain_tokens(item.prompt, item.code, self._rubric, item.language) for item in items)


def mark_identity(config: Config, teacher: Teacher, rubric: Rubric) -> dict[str, object]:
    """What a mark depends on besides task, code and language. Not the weights: they are applied on reading."""
    rlaif = config.rlaif
    return {
        "teacher": dict(teacher.identity()),
        "rubric": rubric.version,
        "template": TEMPLATE_VERSION,
        "extractor": EXTRACTOR_VERSION,
        "max_group_size": config.teacher.max_group_size,
        "prompt_chars": rlaif.prompt_context_chars if rlaif.truncate_prompt_for_scoring else None,
        "prompt_policy": rlaif.prompt_context_policy if rlaif.truncate_prompt_for_scoring else None,
        "rubric_in_system_prompt": rlaif.move_rubric_to_system_prompt,
    }
