"""Audits the teacher: it also scores a fixed fraction of the samples that failed a test.

Of samples that pass, the teacher's own correctness is known anyway. Its scores of those that fail
are stored apart and never become the sample's mark; together they show how far it agrees with the
tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.contract import Source
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.pipeline.audit_calls import AuditCalls, is_chosen
from markbook.scoring.pipeline.group_scorer import GroupScorer, Outcome, PreparedSample, SampleMark
from markbook.scoring.pipeline.tests_tier import FAILED
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import NewTestsAudit, Store
from markbook.scoring.types import CORRECTNESS


class TestsAuditor:
    """Raises ConfigError where the rubric has no correctness that could be compared."""

    __test__ = False  # pytest takes classes named Test* for tests

    def __init__(
        self,
        config: Config,
        scorer: GroupScorer,
        store: Store,
        rubric: Rubric,
        clock_ms: Callable[[], int],
    ) -> None:
        self._share = config.rlaif.tests_audit_rate
        if self._share and CORRECTNESS not in rubric.criteria:
            raise ConfigError(
                f"rlaif.tests_audit_rate is {self._share:g}, but the rubric has no criterion "
                f"{CORRECTNESS} to compare with tests: set it to 0, or name a criterion so"
            )
        self._calls = AuditCalls(
            config, scorer, store.tests_audits, rubric, clock_ms, "samples that failed a test"
        )

    @property
    def is_on(self) -> bool:
        return self._share > 0

    def choose(
        self, outcomes: Sequence[tuple[PreparedSample, Outcome]]
    ) -> list[tuple[PreparedSample, SampleMark]]:
        """Those that a failed test has decided and that are to be audited."""
        failed = [
            (item, outcome)
            for item, outcome in outcomes
            if isinstance(outcome, SampleMark)
            and outcome.source is Source.TESTS
            and FAILED in outcome.reasons
        ]
        return [(item, mark) for item, mark in failed if is_chosen(item.print.key, self._share)]

    async def audit(
        self, billing: BillingContext, chosen: Sequence[tuple[PreparedSample, SampleMark]]
    ) -> None:
        """Ask the teacher about chosen samples."""
        audits = [
            NewTestsAudit(item.print, billing.run, item.language, mark.score)
            for item, mark in chosen
        ]
        await self._calls.ask(billing, [item for item, _ in chosen], audits)
