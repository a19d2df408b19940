"""Turns the outcomes of a request's samples into its response and its ledger line, each built
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markbook.contract import ScoreResponse, Source
from markbook.scoring.pipeline.group_scorer import Outcome, PreparedSample
from markbook.scoring.pipeline.ledger_writer import LedgerWriter
from markbook.scoring.pipeline.reject_writer import RejectWriter
from markbook.scoring.pipeline.request_state import RequestState, ScoredRequest, is_over_budget
from markbook.scoring.pipeline.results import (
    build_ledger_line,
    build_results,
    sum_baseline_tokens,
    sum_usage,
)
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import RequestLine, Store


class ResponseWriter:
    """`count_baseline`: whether the ledger line counts the baseline tokens of one call per
    sample.
    """

    def __init__(
        self,
        store: Store,
        ledger: LedgerWriter,
        rubric: Rubric,
        profile: str,
        clock_ms: Callable[[], int],
        on_request_counted: Callable[[RequestLine], None],
        *,
        count_baseline: bool,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self.rejects = RejectWriter(store, clock_ms)
        self._rubric = rubric
        self._profile = profile
        self._clock_ms = clock_ms
        self._on_request_counted = on_request_counted
        self._count_baseline = count_baseline

    async def respond(
        self, state: RequestState, outcomes: Mapping[bytes, Outcome]
    ) -> ScoreResponse:
        """Count the request, write its ledger line unless that was done with its marks, and
        return its response.
        """
        is_line_written = state.response is not None
        response = state.response or self._build_response(state, outcomes)
        self._on_request_counted(response.line)
        if not is_line_written:
            was_paid = bool(state.billing.bills or response.line.teacher)
            await self._ledger.add(response.line, durable=was_paid)
        await self._record_access(state, response)
        return ScoreResponse(results=response.results, usage=sum_usage(state.billing.bills))

    async def _record_access(self, state: RequestState, response: ScoredRequest) -> None:
        """A key limited to some runs sees the marks that these paid for or were given: note
        those that were given.
        """
        if self._store.keys.any_for_some_runs:
            pairs = zip(state.items, response.results, strict=True)
            given = {
                item.print.row
                for item, result in pairs
                if result.source in (Source.CACHE, Source.COALESCED)
            }
            await self._store.given.add(given, state.billing.run)

    def _build_response(
        self, state: RequestState, outcomes: Mapping[bytes, Outcome]
    ) -> ScoredRequest:
        results = list(build_results(state.items, outcomes, state.owned, self._profile))
        baseline = (
            sum_baseline_tokens(state.items, results, self._rubric) if self._count_baseline else 0
        )
        line = build_ledger_line(state.request, state.items, results, self._clock_ms(), baseline)
        self.rejects.add(state.items, results, state.billing.run)
        state.response = ScoredRequest(results, line)
        return state.response

    def completed_lines(
        self,
        states: Sequence[RequestState],
        group: Sequence[PreparedSample],
        outcomes: Sequence[Outcome],
    ) -> list[RequestLine]:
        """Ledger lines of the requests that lacked only these outcomes: written with them, they
        save a transaction.
        """
        new = {item.print.digest: outcome for item, outcome in zip(group, outcomes, strict=True)}
        lines = [self._line_if_complete(state, new) for state in states]
        return [line for line in lines if line is not None]

    def _line_if_complete(
        self, state: RequestState, new: Mapping[bytes, Outcome]
    ) -> RequestLine | None:
        # a gathered group also has outcomes of other requests
        known = state.resolved() | {
            digest: new[digest] for digest in state.futures if digest in new
        }
        if (
            state.response
            or len(known) < len(state.futures)
            or any(map(is_over_budget, known.values()))
        ):
            return None
        return self._build_response(state, known).line
