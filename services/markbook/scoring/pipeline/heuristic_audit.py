"""Audits the heuristic tier: the teacher also scores a fixed fraction of what it rejects.

The teacher's scores are stored apart and never become the sample's mark; they show how often the tier is wrong.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

from markbook.config.settings import Config
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.concurrency import gather_all
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError
from markbook.scoring.heuristics import HeuristicResult
from markbook.scoring.heuristics.grammars import is_supported
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import NewAudit, Store
from markbook.scoring.types import Judgment

OTHER = "other"
"""The name under which languages without a parser are counted."""

log = logging.getLogger("markbook")


class Auditor:
    def __init__(
        self, config: Config, scorer: GroupScorer, store: Store, rubric: Rubric, clock_ms: Callable[[], int]
    ) -> None:
        self._share = config.rlaif.heuristic_audit_rate
        self._stale_ms = round(2 * config.teacher.timeout_s * 1000)  # longer than any call that still runs
        self._scorer = scorer
        self._store = store
        self._rubric = rubric
        self._clock_ms = clock_ms

    async def audit(self, billing: BillingContext, rejected: Sequence[tuple[PreparedSample, HeuristicResult]]) -> None:
        """Ask the teacher about those of the rejected samples that are chosen, each once ever.

        No mark of the request depends on it: what fails is logged and audited the next time it is rejected.
        """
        audits = {
            item.print.digest: NewAudit(item.print, billing.run, _language_of(item), result.reasons[0], result.score)
            for item, result in rejected
            if is_chosen(item.print.key, self._share)
        }
        if not audits:
            return
        try:
            mine = await self._store.audits.acquire([*audits.values()], self._clock_ms(), self._stale_ms)
            chosen = [item for item, _ in rejected if item.print.digest in mine]
            groups = self._scorer.groups(chosen)
            await gather_all([self._ask(billing, group) for group in groups])
        except (StoreUnavailableError, ServiceStoppingError) as error:
            log.warning("audit of rejected samples skipped, will retry: %s", error)

    async def _ask(self, billing: BillingContext, group: Sequence[PreparedSample]) -> None:
        async with self._scorer.score_group(billing, group) as result:
            pairs = [(item.print.digest, outcome) for item, outcome in zip(group, result.outcomes, strict=True)]
            marks = {
                digest: (outcome.criteria, self._rubric.score(outcome.criteria))
                for digest, outcome in pairs
                if isinstance(outcome, Judgment)
            }
            failures = {digest: outcome for digest, outcome in pairs if not isinstance(outcome, Judgment)}
            await self._store.audits.record(marks, [*failures], self._clock_ms())
        for failure in {failure.code: failure for failure in failures.values()}.values():
            log.warning("audit of rejected samples skipped, will retry: %s", failure.code)  # its detail may quote one


def _language_of(item: PreparedSample) -> str:
    return item.language if is_supported(item.language) else OTHER  # clients may write anything there


def is_chosen(key: str, share: float) -> bool:
    """Whether the sample with this key is audited: the same for every request, a superset for a larger `share`."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64
