"""Audits of the heuristic tier: a fixed share of what it rejects is shown to the teacher as well.

What the teacher says is kept apart and never becomes the sample's mark; it tells how often the tier is wrong.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

from markbook.config.settings import Config
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.concurrency import gather_all
from markbook.scoring.errors import ServiceStopping, StoreUnavailable
from markbook.scoring.heuristics import HeuristicResult
from markbook.scoring.heuristics.grammars import known
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import NewAudit, Store
from markbook.scoring.types import Judgment

OTHER = "other"
"""What languages that the tier has no parser for are counted under."""

log = logging.getLogger("markbook")


class Auditor:
    def __init__(
        self, config: Config, asker: GroupScorer, store: Store, rubric: Rubric, clock_ms: Callable[[], int]
    ) -> None:
        self._share = config.rlaif.heuristic_audit_rate
        self._stale_ms = round(2 * config.teacher.timeout_s * 1000)  # longer than any call that still runs
        self._asker = asker
        self._store = store
        self._rubric = rubric
        self._clock_ms = clock_ms

    async def audit(self, payer: BillingContext, rejected: Sequence[tuple[PreparedSample, HeuristicResult]]) -> None:
        """Ask about the chosen of the rejected samples, each once and for all.

        The marks of the request do not depend on it: what fails here is left for the next time.
        """
        audits = {
            item.print.digest: NewAudit(
                item.print, payer.run, _language_of(item), judgement.reasons[0], judgement.score
            )
            for item, judgement in rejected
            if is_chosen(item.print.key, self._share)
        }
        if not audits:
            return
        try:
            mine = await self._store.audits.take([*audits.values()], self._clock_ms(), self._stale_ms)
            groups = self._asker.groups([item for item, _ in rejected if item.print.digest in mine])
            await gather_all([self._ask(payer, group) for group in groups])
        except (StoreUnavailable, ServiceStopping) as error:
            log.warning("rejected samples are not audited this time: %s", error)

    async def _ask(self, payer: BillingContext, group: Sequence[PreparedSample]) -> None:
        async with self._asker.hear(payer, group) as said:
            pairs = [(item.print.digest, outcome) for item, outcome in zip(group, said.outcomes, strict=True)]
            marks = {
                digest: (outcome.criteria, self._rubric.score(outcome.criteria))
                for digest, outcome in pairs
                if isinstance(outcome, Judgment)
            }
            failures = {digest: outcome for digest, outcome in pairs if not isinstance(outcome, Judgment)}
            await self._store.audits.record(marks, [*failures], self._clock_ms())
        for failure in {failure.code: failure for failure in failures.values()}.values():
            log.warning("rejected samples are not audited this time: %s", failure.code)  # its detail may quote one


def _language_of(item: PreparedSample) -> str:
    return item.language if known(item.language) else OTHER  # clients may write anything there


def is_chosen(key: str, share: float) -> bool:
    """Whether the sample of this key is among the `share`: always the same ones, and more of them in a larger share."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64
