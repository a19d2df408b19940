"""Plans a round of a batch: what is free is answered, what is left is claimed, divided into
requests and reserved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markbook.config.settings import Budget, Config
from markbook.contract import ErrorCode, SampleTests, Source
from markbook.scoring.budgets.limiter import budgets_by_scope
from markbook.scoring.fair_queue import Caller
from markbook.scoring.pipeline.batch_outcomes import dump_outcome, is_to_be_alone
from markbook.scoring.pipeline.free_tiers import FreeTiers
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample
from markbook.scoring.prompts.prompt import truncate_task
from markbook.scoring.store import CallContext, SampleState, Store, StoredBatch, StoredRequest
from markbook.scoring.store.budgets import BudgetExceededError
from markbook.scoring.teachers.batch_protocol import BatchApi, BatchRequest
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import ScoringFailure

Items = Mapping[bytes, PreparedSample]
"""The samples of a batch by digest, each once."""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """The batch after planning.

    `open`: samples without an outcome; `planned`: those that are in a request.
    """

    batch: StoredBatch
    open: int
    planned: int


class BatchPlanner:
    def __init__(
        self,
        config: Config,
        api: BatchApi,
        store: Store,
        tiers: FreeTiers,
        scorer: GroupScorer,
        clock_ms: Callable[[], int],
    ) -> None:
        self._rlaif = config.rlaif
        self._budgets = config.budgets
        self._api = api
        self._store = store
        self._tiers = tiers
        self._scorer = scorer
        self._clock_ms = clock_ms

    async def plan(self, batch: StoredBatch, items: Items) -> RoundPlan:
        """Store outcomes that cost nothing, then the requests for the rest, as far as no call has
        claimed it.

        Over a budget nothing is asked: the samples that were to be have the outcome
        `budget_exhausted`.
        """
        known = await self._store.batches.samples(batch.id)
        open_ = [
            item
            for digest, item in items.items()
            if digest not in known or known[digest].outcome is None
        ]
        outcomes: dict[bytes, Outcome] = {}

        def on_outcome(item: PreparedSample, outcome: Outcome) -> None:
            outcomes[item.print.digest] = outcome

        left = (await self._tiers.resolve(open_, Caller(batch.key, batch.run), on_outcome)).left
        await self._resolve(batch, outcomes, known)
        wanted = [item.print for item in left]
        claimed, stored = await self._store.batches.claim(batch, wanted, self._clock_ms())
        coalesced: dict[bytes, Outcome] = {}
        owned: list[PreparedSample] = []
        for item in left:
            if mark := stored.get(item.print.digest):
                coalesced[item.print.digest] = self._scorer.mark(
                    item, Source.COALESCED, mark.criteria, mark.reasons
                )
            elif item.print.digest in claimed:
                owned.append(item)
        await self._resolve(batch, coalesced, known)
        open_count = len(left) - len(coalesced)
        if not owned:
            return RoundPlan(batch, open_count, 0)
        return await self._reserve(batch, owned, known, open_count)

    def build(self, request: StoredRequest, items: Items) -> BatchRequest:
        """The body of a stored request: the same each time."""
        return self._api.build(
            self._group(request.id, [items[digest] for digest in request.digests])
        )

    async def _reserve(
        self,
        batch: StoredBatch,
        owned: Sequence[PreparedSample],
        known: Mapping[bytes, SampleState],
        open_count: int,
    ) -> RoundPlan:
        requests = self._requests(batch, owned, known)
        shown = {digest for request in requests for digest in request.digests}
        states: dict[bytes, SampleState] = {}
        for item in owned:
            if item.print.digest in shown:
                state = known.get(item.print.digest, SampleState())
                tests = None if item.verdict is None else item.verdict.model_dump_json()
                states[item.print.digest] = replace(state, attempts=state.attempts + 1, tests=tests)
        contexts = [
            (each, CallContext(batch.run, group_id(each.digests), len(each.digests), batch.key))
            for each in requests
        ]
        limits = await self._limits(batch)
        try:
            planned = await self._store.batches.plan(
                batch, contexts, states, limits, self._clock_ms()
            )
        except BudgetExceededError as error:
            detail = (
                f"none of the batch's {len(requests):,} requests was sent, as not all of them "
                f"fit: {error.detail}"
            )
            failure = ScoringFailure(ErrorCode.BUDGET_EXHAUSTED, detail)
            await self._resolve(batch, {item.print.digest: failure for item in owned}, known)
            return RoundPlan(batch, open_count - len(owned), 0)
        return RoundPlan(planned, open_count, len(shown))

    def _requests(
        self,
        batch: StoredBatch,
        owned: Sequence[PreparedSample],
        known: Mapping[bytes, SampleState],
    ) -> list[StoredRequest]:
        """As many as the provider takes at once; samples of the others stay claimed, for the
        next round.
        """
        requests: list[StoredRequest] = []
        size = 0
        for number, group in enumerate(self._groups(owned, known)):
            name = f"{custom_id_prefix(batch, batch.round + 1)}{number}"
            built = self._api.build(self._group(name, group))
            size += len(json.dumps(built.params)) + len(name) + 40
            if requests and (size > self._api.max_bytes or len(requests) == self._api.max_requests):
                break
            requests.append(StoredRequest(name, [item.print.digest for item in group], built.bound))
        return requests

    def _groups(
        self, owned: Sequence[PreparedSample], known: Mapping[bytes, SampleState]
    ) -> Iterator[list[PreparedSample]]:
        """Samples in the order shown, request by request."""
        together: list[PreparedSample] = []
        for item in owned:
            state = known.get(item.print.digest)
            if state is not None and is_to_be_alone(state.failure):
                yield [item]
            else:
                together.append(item)
        for group in self._scorer.groups(together):
            name = group_id([item.print.digest for item in group])
            for part in self._api.parts(self._group(name, group)):
                yield [group[index] for index in part]

    def _group(self, name: str, items: Sequence[PreparedSample]) -> Group:
        task = truncate_task(
            items[0].prompt,
            truncate=self._rlaif.truncate_prompt_for_scoring,
            chars=self._rlaif.prompt_context_chars,
            policy=self._rlaif.prompt_context_policy,
        )
        return Group(name, task, items[0].language, tuple(item.code for item in items))

    async def _limits(self, batch: StoredBatch) -> dict[str, tuple[Budget, ...]]:
        """Limits by scope, of today's configuration and keys."""
        keys = {key.name: key for key in await self._store.keys.all()}
        key = keys.get(batch.key) if batch.key is not None else None
        if (
            key is not None and key.revoked_ms is not None
        ):  # what is at the provider is still collected
            key = replace(key, budget=Budget(tokens=0))
        return budgets_by_scope(self._budgets, batch.run, key)

    async def _resolve(
        self,
        batch: StoredBatch,
        outcomes: Mapping[bytes, Outcome],
        known: Mapping[bytes, SampleState],
    ) -> None:
        if outcomes:
            states = {
                digest: replace(known.get(digest, SampleState()), outcome=dump_outcome(outcome))
                for digest, outcome in outcomes.items()
            }
            await self._store.batches.resolve(batch, states, self._clock_ms())


def custom_id_prefix(batch: StoredBatch, round_: int) -> str:
    """Of the ids of a round's requests: at most 64 letters, digits, _ and - with a number behind
    it.

    The ledger has these ids for `ledger_retention_days`. A request that is sent again after its
    batch was deleted is a new batch with the same id and another time.
    """
    return f"{batch.id}-{batch.created_ms:x}-{round_}-"


def group_id(digests: Sequence[bytes]) -> str:
    """Of samples that are shown together, as for calls: 16 hex digits."""
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def with_tests(item: PreparedSample, state: SampleState | None) -> PreparedSample:
    """The sample with the verdict that its tests had when it was asked for."""
    if state is None or state.tests is None:
        return item
    return replace(item, verdict=SampleTests.model_validate_json(state.tests))
