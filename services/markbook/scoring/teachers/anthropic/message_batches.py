"""The Message Batches API over the official SDK: half the price, results within 24 hours and in any
order.

https://platform.claude.com/docs/en/build-with-claude/batch-processing, read in November 2026. A
batch cannot be named by the client, and the list of batches shows no ids of requests: which batch
was sent is found by its number of requests and its time, and proven by the ids in its results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any

import anthropic
import httpx2

from markbook.config.settings import TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.errors import TeacherError
from markbook.scoring.prompts.prompt import shuffled_order
from markbook.scoring.teachers.anthropic.call_pricing import CallPricer
from markbook.scoring.teachers.anthropic.group_splitting import split_by_length
from markbook.scoring.teachers.anthropic.message_reader import MessageReader
from markbook.scoring.teachers.anthropic.request import RequestBuilder
from markbook.scoring.teachers.anthropic.response import (
    count_tokens,
    explain_status,
    get_text,
    retry_after_s,
    with_exchange,
)
from markbook.scoring.teachers.batch_protocol import (
    BatchNotSentError,
    BatchRequest,
    BatchResult,
    FoundBatch,
)
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Exchange, ScoringFailure, TeacherCall

PAGE = 1000
"""Batches per page of the list, the most there can be."""
ASK_TIMEOUT_S = 120.0
"""Seconds for everything but sending a batch."""
_RETRY_S = 1.0
_TRANSIENT = ("api_error", "overloaded_error", "rate_limit_error", "timeout_error")
"""Errors of a request that do not come from what it asks for."""
_BROKEN = (httpx2.HTTPError, anthropic.AnthropicError, ValueError, TimeoutError)
"""A connection that fails, an error response, a body that is cut off or not JSON."""
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)
_EXPIRED = ScoringFailure(
    ErrorCode.TEACHER_TIMEOUT, "the request expired: its batch did not end in time", _RETRY_S
)
_CANCELED = ScoringFailure(
    ErrorCode.TEACHER_UNAVAILABLE, "the request was cancelled at the provider", _RETRY_S
)
_LOST = ScoringFailure(
    ErrorCode.TEACHER_UNAVAILABLE, "the provider has no result of this request any more", _RETRY_S
)


_LOST_OUTCOME = "lost"


class MessageBatches:
    """A BatchApi. `send` takes at most `teacher.batch_send_timeout_s`."""

    max_requests = 100_000
    max_bytes = 250_000_000  # of 256 MB, for what is around the requests
    result_days = 29.0

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        config: TeacherConfig,
        requests: RequestBuilder,
        reader: MessageReader,
    ) -> None:
        self._batches = client.messages.batches
        self._config = config
        self._requests = requests
        self._reader = reader
        price = config.price()
        self._pricer = CallPricer(
            config.model, price, config.batch_cache_ttl, 0.5 if price is None else price.batch
        )

    def parts(self, group: Group) -> list[list[int]]:
        order = shuffled_order(group.id, len(group.codes), shuffle=self._config.shuffle_group)
        return list(split_by_length(order, group.codes))

    def build(self, group: Group) -> BatchRequest:
        params = self._requests.build(
            group, range(len(group.codes)), self._config.batch_cache_ttl, in_batch=True
        )
        message = params["messages"][0]["content"]
        bound = self._pricer.bound("reserved", self._requests.system, message, params["max_tokens"])
        return BatchRequest(params, bound)

    async def send(self, requests: Sequence[tuple[str, BatchRequest]]) -> str:
        body: Any = [{"custom_id": name, "params": request.params} for name, request in requests]
        try:
            async with asyncio.timeout(self._config.batch_send_timeout_s):
                batch = await self._batches.create(requests=body)
        except anthropic.APIStatusError as error:
            raise _send_error(error) from error
        except anthropic.APIConnectionError as error:
            if isinstance(error.__cause__, _NOT_SENT):
                detail = f"no connection to the provider: {type(error.__cause__).__name__}"
                raise BatchNotSentError(
                    ErrorCode.TEACHER_UNAVAILABLE, detail, is_final=False
                ) from error
            raise _unavailable(error) from error
        except _BROKEN as error:
            raise _unavailable(error) from error
        if not isinstance(getattr(batch, "id", None), str):
            raise TeacherError(
                ErrorCode.TEACHER_UNAVAILABLE,
                "the response to a batch is not one of the Batches API",
            )
        return batch.id

    async def find(
        self, prefix: str, requests: int, since_ms: int, known: Collection[str]
    ) -> FoundBatch:
        since = datetime.fromtimestamp(since_ms / 1000, UTC)
        is_certain = True
        with _errors():
            async with asyncio.timeout(ASK_TIMEOUT_S):
                async for batch in self._batches.list(limit=PAGE):  # the newest first
                    if batch.created_at < since:
                        break
                    counts = batch.request_counts
                    total = (
                        counts.processing
                        + counts.succeeded
                        + counts.errored
                        + counts.canceled
                        + counts.expired
                    )
                    if batch.id in known or total != requests:
                        continue
                    if batch.processing_status != "ended":
                        is_certain = False  # only results show the ids of requests
                    elif batch.results_url is not None and await self._holds(batch.id, prefix):
                        return FoundBatch(batch.id, is_certain=True)
        return FoundBatch(None, is_certain)

    async def _holds(self, batch: str, prefix: str) -> bool:
        async with aclosing(self.results(batch)) as results:
            async for name, _ in results:
                return name.startswith(prefix)
        return False

    async def has_ended(self, batch: str) -> bool:
        with _errors():
            async with asyncio.timeout(ASK_TIMEOUT_S):
                found = await self._batches.retrieve(batch)
        return found.processing_status == "ended"

    async def results(self, batch: str) -> AsyncGenerator[tuple[str, object]]:
        with _errors():
            lines = await self._batches.results(batch)
            try:
                async for line in lines:
                    yield str(line.custom_id), line.result
            finally:
                await lines.close()

    def read(
        self,
        result: object,
        samples: int,
        bound: TeacherCall,
        sent: Mapping[str, Any] | None = None,
    ) -> BatchResult:
        kind = str(getattr(result, "type", None))
        if kind == "succeeded":
            message = getattr(result, "message", None)
            found = self._read_message(message, samples, bound)
            if sent is None:
                return found
            return BatchResult(
                with_exchange(found.outcomes, Exchange(sent, get_text(message))), found.call
            )
        if kind == "expired":
            return BatchResult((_EXPIRED,) * samples, self._free(kind))
        if kind == "canceled":
            return BatchResult((_CANCELED,) * samples, self._free(kind))
        response = getattr(result, "error", None)
        error = getattr(response, "error", None)
        kind = str(getattr(error, "type", None) or kind)
        detail = f"the teacher returned {kind}: {str(getattr(error, 'message', ''))[:300]}"
        failure = ScoringFailure(ErrorCode.TEACHER_REJECTED, detail)
        if kind in _TRANSIENT:
            failure = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, detail, _RETRY_S)
        return BatchResult((failure,) * samples, self._free(kind))

    def lost(self, samples: int, bound: TeacherCall) -> BatchResult:
        return BatchResult((_LOST,) * samples, _charged(bound, _LOST_OUTCOME))

    def _read_message(self, message: object, samples: int, bound: TeacherCall) -> BatchResult:
        outcome = str(getattr(message, "stop_reason", None) or "no_stop_reason")
        tokens = count_tokens(message, self._config.batch_cache_ttl)
        name = getattr(message, "id", None)
        call = (
            _charged(bound, outcome)
            if tokens is None
            else self._pricer.counted(outcome, tokens, name if isinstance(name, str) else None)
        )
        return BatchResult(self._reader.read(message, samples, bound.output_tokens), call)

    def _free(self, outcome: str) -> TeacherCall:
        return TeacherCall(self._pricer.model, outcome, failed=True)


def _charged(bound: TeacherCall, outcome: str) -> TeacherCall:
    """A call without a bill."""
    return TeacherCall(
        bound.model,
        outcome,
        input_tokens=bound.input_tokens,
        output_tokens=bound.output_tokens,
        cache_creation_input_tokens=bound.cache_creation_input_tokens,
        cost_usd=bound.cost_usd,
        billed_input_equivalent=bound.billed_input_equivalent,
        usage_unknown=True,
        failed=outcome == _LOST_OUTCOME,
    )


def _send_error(error: anthropic.APIStatusError) -> TeacherError:
    """A 4xx says that there is no batch; after a 5xx there may be one."""
    status, kind = error.status_code, str(error.type or f"http_{error.status_code}")
    detail = explain_status(status, kind, str(error.api_message or error.message))
    if status >= 500:
        return TeacherError(ErrorCode.TEACHER_UNAVAILABLE, detail)
    is_spend_limit = (error.error_code or "").endswith("spend_limit_reached")
    is_final = is_spend_limit or status not in (408, 409, 425, 429)
    code = ErrorCode.TEACHER_REJECTED if is_final else ErrorCode.TEACHER_UNAVAILABLE
    wait_s = retry_after_s(error.response.headers.get("retry-after"))
    return BatchNotSentError(code, detail, is_final=is_final, retry_after_s=wait_s)


@contextmanager
def _errors() -> Iterator[None]:
    """Every failure as a TeacherError: asking again later is the remedy for all of them."""
    try:
        yield
    except _BROKEN as error:
        raise _unavailable(error) from error


def _unavailable(error: BaseException) -> TeacherError:
    if isinstance(error, anthropic.APIStatusError):
        kind = str(error.type or "error")
        detail = explain_status(error.status_code, kind, str(error.api_message or error.message))
    else:
        detail = (
            f"no connection to the provider's batches: {type(error.__cause__ or error).__name__}"
        )
    return TeacherError(ErrorCode.TEACHER_UNAVAILABLE, detail)
