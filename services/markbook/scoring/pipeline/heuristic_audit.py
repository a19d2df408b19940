"""Audits the heuristic tier: the teacher also scores a fixed fraction of what it rejects.

The teacher's scores are stored apart and never become the sample's mark; they show how often the
tier is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markbook.config.settings import Config
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.heuristics import HeuristicResult
from markbook.scoring.heuristics.grammars import is_supported
from markbook.scoring.pipeline.audit_calls import AuditCalls, is_chosen
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import NewAudit, Store

OTHER = "other"
"""The name under which languages without a parser are counted."""


class HeuristicAuditor:
    def __init__(
        self,
        config: Config,
        scorer: GroupScorer,
        store: Store,
        rubric: Rubric,
        clock_ms: Callable[[], int],
    ) -> None:
        self._share = config.rlaif.heuristic_audit_rate
        self._calls = AuditCalls(config, scorer, store.audits, rubric, clock_ms, "rejected samples")

    async def audit(
        self, billing: BillingContext, rejected: Sequence[tuple[PreparedSample, HeuristicResult]]
    ) -> None:
        """Ask the teacher about those of the rejected samples that are chosen."""
        audits = {
            item.print.digest: NewAudit(
                item.print, billing.run, _language_of(item), result.reasons[0], result.score
            )
            for item, result in rejected
            if is_chosen(item.print.key, self._share)
        }
        await self._calls.ask(billing, [item for item, _ in rejected], [*audits.values()])


def _language_of(item: PreparedSample) -> str:
    return (
        item.language if is_supported(item.language) else OTHER
    )  # clients may write anything there
