"""Requests the reason of one mark from the teacher: once per sample, within the budgets, booked
like any call.

The mark stays as it is: the reason, and the criteria that came with it, are stored beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from markbook.config.settings import Config
from markbook.contract import ExtractedFrom
from markbook.scoring.budgets.limiter import BillingContext
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError
from markbook.scoring.fingerprint import Fingerprint
from markbook.scoring.pipeline.group_scorer import GroupScorer, PreparedSample
from markbook.scoring.store import Store, Texts
from markbook.scoring.types import Judgment, ScoringFailure


class Explainer:
    def __init__(
        self,
        config: Config,
        scorer: GroupScorer,
        store: Store,
        model: str,
        clock_ms: Callable[[], int],
    ) -> None:
        self.stale_ms = round(
            2 * config.teacher.timeout_s * 1000
        )  # longer than any call that still runs
        self._scorer = scorer
        self._store = store
        self._model = model
        self._clock_ms = clock_ms

    async def explain(
        self, billing: BillingContext, name: Fingerprint, texts: Texts
    ) -> ScoringFailure | None:
        """Store the teacher's reasons for the sample; does nothing if they are stored or requested
        already.

        Returns None, or why there are no reasons: the next call tries again. Raises
        StoreUnavailableError and ServiceStoppingError.
        """
        mine = await self._store.explanations.acquire(
            name.row, billing.run, self._model, self._clock_ms(), self.stale_ms
        )
        if not mine:
            return None
        item = PreparedSample(texts.task, name.language, texts.code, ExtractedFrom.COMPLETION, name)
        try:
            async with self._scorer.score_group(billing, [item], explain=True) as result:
                [outcome] = result.outcomes
        except (StoreUnavailableError, ServiceStoppingError):
            await self._store.explanations.release(name.row)
            raise
        if isinstance(outcome, Judgment):
            await self._store.explanations.record(
                name.row, outcome.reasons, outcome.criteria, self._clock_ms()
            )
            return None
        await self._store.explanations.release(name.row)
        return outcome
