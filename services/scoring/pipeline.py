"""One sample's way through the service, top to bottom.

    extract -> fingerprint -> claim -> store      -- hit ----> cache
                                    -> tier       -- reject -> heuristic
                                    -> teacher    -----------> teacher, stored before anyone sees it
    someone else has the claim      -> wait       -----------> what the other got (coalesced, when a teacher marked it)

Every sample is counted once: the sources and the failures sum to the samples asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.scoring.errors import ServiceStopping, TeacherError
from services.scoring.extraction import EXTRACTOR_VERSION, extract
from services.scoring.fingerprint import Fingerprint, fingerprint, profile_of
from services.scoring.heuristics import Tier
from services.scoring.languages import canonical
from services.scoring.ledger import LedgerWriter
from services.scoring.prompting import TEMPLATE_VERSION, plain_tokens, shown_task
from services.scoring.rubric import Rubric
from services.scoring.single_flight import SingleFlight
from services.scoring.store import NewMark, RequestLine, Store
from services.scoring.teachers.base import Call, Failure, Group, GroupReply, Marked, Teacher
from shared.config import Config
from shared.contract import (
    RequestUsage,
    Result,
    Sample,
    SampleError,
    Scored,
    ScoreRequest,
    ScoreResponse,
    Source,
    Unscored,
)


@dataclass(frozen=True, slots=True)
class Item:
    """A sample made ready: what is judged, and the name of its mark."""

    prompt: str
    language: str
    code: str
    print: Fingerprint


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of a sample that has a mark. `criteria` is None when the tier rejected it."""

    source: Source
    score: float
    criteria: Mapping[str, float] | None
    reasons: tuple[str, ...]


Outcome = Mark | Failure


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
        results = list(self._results(items, outcomes, set(led)))
        await self._ledger.write(self._line(request, items, results))
        return ScoreResponse(results=results, usage=request_usage(calls))

    async def close(self) -> None:
        """Let the calls in progress finish: they are paid for, so their marks are kept."""
        if self._leading:
            await asyncio.wait(self._leading)

    def _prepare(self, sample: Sample) -> Item:
        language = canonical(sample.language)
        code = extract(sample.code, language).code
        return Item(sample.prompt, language, code, fingerprint(self.profile, sample.prompt, code, language))

    async def _lead(self, run: str, items: Sequence[Item]) -> list[Call]:
        """Land the flight of every item; returns what was paid on the way."""
        stored = await self._store.get([item.print for item in items])
        missing: list[Item] = []
        for item in items:
            if mark := stored.get(item.print.digest):
                self._land(item, self._mark(Source.CACHE, mark.criteria, mark.reasons))
            else:
                missing.append(item)
        asking = await self._reject(missing) if self._config.rlaif.use_tiered_scoring else missing
        asked = [asyncio.create_task(self._ask(run, group)) for group in self._groups(asking)]
        if asked:
            await asyncio.wait(asked)  # all of them: one group's failure must not lose another's marks
        return [call for task in asked for call in task.result()]

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

    def _groups(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Samples of one task and language together, at most `max_group_size`."""
        tasks: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in items:
            tasks[item.prompt, item.language].append(item)
        size = self._config.teacher.max_group_size
        for group in tasks.values():
            yield from (group[start : start + size] for start in range(0, len(group), size))

    async def _ask(self, run: str, items: Sequence[Item]) -> tuple[Call, ...]:
        """One group to the teacher. Its marks and its bill are durable before anybody sees them."""
        first = items[0]
        rlaif = self._config.rlaif
        shown = shown_task(first.prompt, truncate=rlaif.truncate_prompt_for_scoring, chars=rlaif.prompt_context_chars)
        group_id = hashlib.sha256(b"".join(item.print.digest for item in items)).hexdigest()[:16]
        group = Group(group_id, shown, first.language, tuple(item.code for item in items))
        try:
            reply = await self._teacher.mark(group)
        except TeacherError as error:
            failure = Failure(error.code, error.detail, error.retry_after_s)
            reply = GroupReply((failure,) * len(items), error.calls)
        marks = [
            NewMark(item.print, outcome.criteria, outcome.reasons, position)
            for position, (item, outcome) in enumerate(zip(items, reply.outcomes, strict=True))
            if isinstance(outcome, Marked)
        ]
        await self._store.record_group(run, self._clock_ms(), group_id, len(items), marks, reply.calls)
        for item, outcome in zip(items, reply.outcomes, strict=True):
            if isinstance(outcome, Marked):
                self._land(item, self._mark(Source.TEACHER, outcome.criteria, outcome.reasons))
            else:
                self._land(item, outcome)
        return reply.calls

    def _mark(self, source: Source, criteria: Mapping[str, float], reasons: tuple[str, ...]) -> Mark:
        return Mark(source, self._rubric.score(criteria), criteria, reasons)

    def _land(self, item: Item, outcome: Outcome) -> None:
        self._flights.land(item.print.digest, outcome)

    def _landed(self, lead: asyncio.Task[list[Call]], led: Sequence[bytes]) -> None:
        """Nobody waits for ever: when a lead ends early, its error goes to all who wait for its samples."""
        self._leading.discard(lead)
        error = ServiceStopping("the service stopped before the marks came") if lead.cancelled() else lead.exception()
        if error is not None:
            self._flights.crash(led, error)

    def _results(
        self, items: Sequence[Item], outcomes: Mapping[bytes, Outcome], unclaimed: set[bytes]
    ) -> Iterator[Result]:
        """One result an item. The first item of a led flight has its source, all others coalesced with it."""
        for item in items:
            outcome = outcomes[item.print.digest]
            if isinstance(outcome, Failure):
                error = SampleError(code=outcome.code, detail=outcome.detail, retry_after_s=outcome.retry_after_s)
                yield Unscored(error=error, key=item.print.key, profile=self.profile)
                continue
            source = outcome.source
            if item.print.digest in unclaimed:
                unclaimed.remove(item.print.digest)
            elif source is Source.TEACHER:
                source = Source.COALESCED
            criteria = None if outcome.criteria is None else dict(outcome.criteria)
            yield Scored(
                score=outcome.score,
                source=source,
                criteria=criteria,
                reasons=list(outcome.reasons),
                key=item.print.key,
                profile=self.profile,
            )

    def _line(self, request: ScoreRequest, items: Sequence[Item], results: Sequence[Result]) -> RequestLine:
        sources = Counter(result.source for result in results if isinstance(result, Scored))
        unscored = Counter(result.error.code.value for result in results if isinstance(result, Unscored))
        # The stand-in is paid nothing, so nothing is saved by asking it less: no plain tokens are booked.
        plain = 0 if self._teacher.stand_in else sum(self._plain_tokens(item) for item in items)
        return RequestLine(
            request_id=request.request_id or uuid.uuid4().hex,
            run=request.run,
            at_ms=self._clock_ms(),
            samples=len(results),
            heuristic=sources[Source.HEURISTIC],
            cache=sources[Source.CACHE],
            coalesced=sources[Source.COALESCED],
            teacher=sources[Source.TEACHER],
            unscored=unscored,
            plain_tokens=plain,
        )

    def _plain_tokens(self, item: Item) -> int:
        return plain_tokens(item.prompt, item.code, self._rubric, item.language)


def mark_identity(config: Config, teacher: Teacher, rubric: Rubric) -> dict[str, object]:
    """What a mark depends on besides task, code and language. Not the weights: they are applied on reading."""
    return {
        "teacher": dict(teacher.identity()),
        "rubric": rubric.version,
        "template": TEMPLATE_VERSION,
        "extractor": EXTRACTOR_VERSION,
        "max_group_size": config.teacher.max_group_size,
        "prompt_chars": config.rlaif.prompt_context_chars if config.rlaif.truncate_prompt_for_scoring else None,
        "rubric_in_system_prompt": config.rlaif.move_rubric_to_system_prompt,
    }


def request_usage(calls: Sequence[Call]) -> RequestUsage:
    costs = [call.cost_usd for call in calls]
    return RequestUsage(
        teacher_calls=len(calls),
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        cache_read_input_tokens=sum(call.cache_read_input_tokens for call in calls),
        cache_creation_input_tokens=sum(call.cache_creation_input_tokens for call in calls),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )
