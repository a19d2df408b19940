"""Asks the teacher about samples whose mark another tier has decided.

Its scores are stored apart, and are no marks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

from markbook.config.settings import Config
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.concurrency import gather_all
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store.audits import AuditTable, NewAuditRow
from markbook.scoring.types import Judgment

log = logging.getLogger("markbook")


class AuditCalls:
    """Audits of one kind. `what` names the samples in the log."""

    def __init__(
        self,
        config: Config,
        scorer: GroupScorer,
        table: AuditTable,
        rubric: Rubric,
        clock_ms: Callable[[], int],
        what: str,
    ) -> None:
        self._stale_ms = round(
            2 * config.teacher.timeout_s * 1000
        )  # longer than any call that still runs
        self._scorer = scorer
        self._table = table
        self._rubric = rubric
        self._clock_ms = clock_ms
        self._what = what

    async def ask(
        self,
        billing: BillingContext,
        items: Sequence[PreparedSample],
        audits: Sequence[NewAuditRow],
    ) -> None:
        """Ask about the `items` that `audits` names, each once ever, charged to `billing`.

        No mark depends on it: what fails is logged and audited the next time.
        """
        if not audits:
            return
        try:
            mine = await self._table.acquire(audits, self._clock_ms(), self._stale_ms)
            chosen = [item for item in items if item.print.digest in mine]
            await gather_all(
                [self._ask_group(billing, group) for group in self._scorer.groups(chosen)]
            )
        except (StoreUnavailableError, ServiceStoppingError) as error:
            log.warning("audit of %s skipped, will retry: %s", self._what, error)

    async def _ask_group(self, billing: BillingContext, group: Sequence[PreparedSample]) -> None:
        async with self._scorer.score_group(billing, group) as result:
            pairs = [
                (item.print.digest, outcome)
                for item, outcome in zip(group, result.outcomes, strict=True)
            ]
            marks = {
                digest: (outcome.criteria, self._rubric.score(outcome.criteria))
                for digest, outcome in pairs
                if isinstance(outcome, Judgment)
            }
            failures = {
                digest: outcome for digest, outcome in pairs if not isinstance(outcome, Judgment)
            }
            await self._table.record(marks, [*failures], self._clock_ms())
        for failure in {failure.code: failure for failure in failures.values()}.values():
            # its detail may quote a sample
            log.warning("audit of %s skipped, will retry: %s", self._what, failure.code)


def is_chosen(key: str, share: float) -> bool:
    """Whether the sample with this key is audited: the same for every request, a superset for a
    larger `share`.
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64
