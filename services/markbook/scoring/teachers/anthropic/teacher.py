"""Claude as the teacher, over the official SDK: one request per group, one retry layer under one
deadline.

Only this package imports the SDK. A call's cost is recorded whatever happens; unknown usage at its
bound.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, TeacherConfig
from markbook.contract import ErrorCode
from markbook.retryable_statuses import is_worth_another_try
from markbook.scoring.concurrency import results_of_all
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError, TeacherError
from markbook.scoring.prompts.prompt import estimate_tokens, shuffled_order
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.teachers.anthropic.cache_warmup import CacheWarmup
from markbook.scoring.teachers.anthropic.call_pricing import CallPricer
from markbook.scoring.teachers.anthropic.circuit_breaker import CircuitBreaker
from markbook.scoring.teachers.anthropic.concurrency_limiter import ConcurrencyLimiter
from markbook.scoring.teachers.anthropic.connection_settings import (
    NO_KEY,
    check_base_url,
    check_key,
    other_server,
)
from markbook.scoring.teachers.anthropic.group_splitting import (
    is_answered,
    split_by_length,
    worth_asking_again,
)
from markbook.scoring.teachers.anthropic.message_batches import MessageBatches
from markbook.scoring.teachers.anthropic.message_reader import MessageReader
from markbook.scoring.teachers.anthropic.request import RequestBuilder
from markbook.scoring.teachers.anthropic.response import (
    count_tokens,
    explain_status,
    get_text,
    retry_after_s,
    with_exchange,
)
from markbook.scoring.teachers.anthropic.retry import Attempt, AttemptOutcome, RetryPolicy
from markbook.scoring.teachers.anthropic.timing import REAL_TIME, Timing
from markbook.scoring.teachers.batch_protocol import BatchApi
from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Outage
from markbook.scoring.types import Exchange, Judgment, ScoringFailure, TeacherCall

log = logging.getLogger(__name__)

_DEFECT = ScoringFailure(
    ErrorCode.TEACHER_UNAVAILABLE, "internal error of the service, see its log: retry", 1.0
)
_TTL_S = {"5m": 300.0, "1h": 3600.0}
_NO_JSON = (ValueError, RecursionError, anthropic.APIResponseValidationError)
"""What parsing a response body can raise: no JSON, no UTF-8, huge integers, deep nesting."""
_NOT_SENT = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError),
)
"""Raised before a byte was sent, so not billed. A WriteError may have sent most of a request."""


class AnthropicTeacher:
    """Scores groups over the Messages API. `timing`: the clocks and the sleep between attempts."""

    name = "anthropic"
    is_stub = False

    def __init__(
        self,
        config: TeacherConfig,
        rubric: Rubric,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        rubric_in_system_prompt: bool = True,
        keep_exchanges: bool = False,
        timing: Timing = REAL_TIME,
    ) -> None:
        api_key, auth_token = (
            check_key("ANTHROPIC_API_KEY", api_key),
            check_key("ANTHROPIC_AUTH_TOKEN", auth_token),
        )
        if not api_key and not auth_token:
            raise ConfigError(NO_KEY)
        check_base_url(config.base_url)
        self.model = config.model
        self.description = f"{config.model} over the Anthropic Messages API"
        self._config = config
        self._requests = RequestBuilder(
            config, rubric, rubric_in_system_prompt=rubric_in_system_prompt
        )
        explaining = config.model_copy(update={"explain": True})
        self._explaining = RequestBuilder(
            explaining, rubric, rubric_in_system_prompt=rubric_in_system_prompt
        )
        thinking_is_known = self._requests.facts.thinking != "unknown"
        self._reader = MessageReader(
            tuple(rubric.criteria), config.explain, thinking_is_known, self._requests.constrained
        )
        self._keep_exchanges = keep_exchanges
        self._pricer = CallPricer(config.model, config.price(), config.cache_ttl)
        self._clock = timing.clock
        self._retry_policy = RetryPolicy(
            CircuitBreaker(timing.clock, timing.wall),
            ConcurrencyLimiter(config.max_concurrency, timing.clock, timing.wall),
            CacheWarmup(
                _TTL_S[config.cache_ttl] if rubric_in_system_prompt else None, timing.clock
            ),
            timing.clock,
            timing.sleep,
            timing.jitter,
        )
        # own retries and timeouts: the SDK would sleep for any retry-after, however long
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            auth_token=None if api_key else auth_token,
            base_url=config.base_url,
            max_retries=0,
            timeout=None,
            open_telemetry={
                "propagation": False
            },  # set here, no environment variable can put samples into traces
        )
        self._check_floor()

    @classmethod
    def from_config(
        cls, config: Config, rubric: Rubric, environ: Mapping[str, str] = os.environ
    ) -> AnthropicTeacher:
        """The teacher of `config` with the API key from the environment.

        Raises ConfigError without one.
        """
        return cls(
            config.teacher,
            rubric,
            api_key=environ.get("ANTHROPIC_API_KEY"),
            auth_token=environ.get("ANTHROPIC_AUTH_TOKEN"),
            rubric_in_system_prompt=config.rlaif.move_rubric_to_system_prompt,
            keep_exchanges=config.store.keep_exchanges > 0,
        )

    def identity(self) -> Mapping[str, object]:
        server = other_server(
            str(self._client.base_url)
        )  # the SDK reads ANTHROPIC_BASE_URL as well
        return {
            **({} if server is None else {"server": server}),
            **({"constrain": True} if self._requests.constrained else {}),
            "name": self.name,
            "model": self.model,
            "thinking": self._requests.facts.thinking,
            "effort": self._requests.effort,
            "explain": self._config.explain,
            "shuffle_group": self._config.shuffle_group,
        }

    def batches(self) -> BatchApi | None:
        if (
            other_server(str(self._client.base_url)) is not None
            and not self._config.base_url_has_batches
        ):
            return None
        return MessageBatches(self._client, self._config, self._requests, self._reader)

    def outage(self) -> Outage | None:
        return self._retry_policy.breaker.outage

    def stop(self) -> None:
        self._retry_policy.stop()

    async def close(self) -> None:
        await self._client.close()

    async def mark(
        self, group: Group, limiter: BudgetLimiter
    ) -> tuple[Judgment | ScoringFailure, ...]:
        """One request for the group in shuffled order; samples without a readable judgment are
        retried once, alone.

        A refusal of several samples is retried likewise: alone, only the sample that caused it is
        refused. Raises no TeacherError (failures are in the outcomes); StoreUnavailableError and
        ServiceStoppingError only before the first answer.
        """
        deadline = self._clock() + self._config.timeout_s
        order = shuffled_order(group.id, len(group.codes), shuffle=self._config.shuffle_group)
        outcomes: dict[int, Judgment | ScoringFailure] = {}
        again: list[int] = []
        for part in split_by_length(order, group.codes):
            answered = any(map(is_answered, outcomes.values()))
            outcomes |= await self._ask_all(group, [part], deadline, limiter, answered=answered)
            again += [index for index in part if worth_asking_again(outcomes[index], len(part))]
        outcomes |= await self._ask_all(
            group, [[index] for index in again], deadline, limiter, answered=True
        )
        return tuple(outcomes[index] for index in range(len(order)))

    async def _ask_all(
        self,
        group: Group,
        parts: Sequence[Sequence[int]],
        deadline: float,
        limiter: BudgetLimiter,
        *,
        answered: bool,
    ) -> dict[int, Judgment | ScoringFailure]:
        """`_ask` for all `parts` concurrently.

        Once one is `answered`, an error of another does not lose it.
        """
        outcomes: dict[int, Judgment | ScoringFailure] = {}
        asked = await results_of_all(
            [self._ask(group, part, deadline, limiter, answered=answered) for part in parts]
        )
        for part, result in zip(parts, asked, strict=True):
            if not isinstance(result, BaseException):
                outcomes |= result
            elif answered:
                log.error(
                    "internal error: %d samples of a paid group stay unscored",
                    len(part),
                    exc_info=result,
                )
                outcomes |= dict.fromkeys(part, _DEFECT)
            else:
                raise result
        return outcomes

    async def _ask(
        self,
        group: Group,
        shown: Sequence[int],
        deadline: float,
        limiter: BudgetLimiter,
        *,
        answered: bool,
    ) -> dict[int, Judgment | ScoringFailure]:
        """One request for the samples with the indices `shown`, in that order; returns their
        outcomes by index.

        `answered`: part of the group is answered and paid for: an unavailable store fails these
        samples alone.
        """
        explain = self._config.explain or group.explain
        builder = self._explaining if explain else self._requests
        request = builder.build(group, shown)
        message = await self._send(request, group, deadline, limiter, answered=answered)
        if isinstance(message, ScoringFailure) and builder.drop_refused_schema(request, message):
            request = builder.build(group, shown)
            message = await self._send(request, group, deadline, limiter, answered=answered)
        if isinstance(message, ScoringFailure):
            return dict.fromkeys(shown, message)
        read = self._reader.read(message, len(shown), request["max_tokens"], explain=explain)
        if self._keep_exchanges:
            read = with_exchange(read, Exchange(request, get_text(message)))
        return dict(zip(shown, read, strict=True))

    async def _send(
        self,
        request: dict[str, Any],
        group: Group,
        deadline: float,
        limiter: BudgetLimiter,
        *,
        answered: bool,
    ) -> Message | ScoringFailure:
        """`request` until it is answered, within `deadline` and budget.

        Raises as `mark` unless `answered`.
        """
        need = {
            "requests": 1,
            "input-tokens": estimate_tokens(str(request)),
            "output-tokens": request["max_tokens"],
        }
        bound = self._bound(request, "reserved")

        async def charged_attempt(left_s: float) -> Attempt[Message]:
            reservation = await limiter.reserve(bound)
            sent = self._clock()
            result: Attempt[Message] = Attempt(AttemptOutcome.DOWN, self._bound(request, "cut_off"))
            try:
                result = await self._attempt(request, left_s)
            finally:  # even if it raised: what was sent may be billed
                await limiter.settle(reservation, bound, result.bill(self._clock() - sent))
            return result

        try:
            return await self._retry_policy.execute(charged_attempt, need, deadline, group.caller)
        except TeacherError as error:  # budget exhausted; earlier outcomes stay
            return ScoringFailure(error.code, error.detail)
        except (StoreUnavailableError, ServiceStoppingError) as error:
            if not answered:
                raise
            detail = f"the teacher was not called: {error.detail}"
            return ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, detail, 1.0)

    async def _attempt(self, request: dict[str, Any], left_s: float) -> Attempt[Message]:
        """One call through the SDK. The result holds its cost, whatever happens."""
        try:
            async with asyncio.timeout(min(left_s, self._config.attempt_timeout_s)):
                raw = await self._client.messages.with_raw_response.create(**request)
                message = await raw.parse()
        except TimeoutError:
            failure = ScoringFailure(
                ErrorCode.TEACHER_TIMEOUT, "the teacher did not answer in time"
            )
            return Attempt(AttemptOutcome.DOWN, self._bound(request, "timeout"), failure=failure)
        except anthropic.APIConnectionError as error:
            cause = error.__cause__ or error
            failure = ScoringFailure(
                ErrorCode.TEACHER_UNAVAILABLE,
                f"no connection to the teacher: {type(cause).__name__}",
            )
            if isinstance(cause, _NOT_SENT):
                return Attempt(AttemptOutcome.DOWN, self._pricer.free("not_sent"), failure=failure)
            return Attempt(
                AttemptOutcome.DOWN, self._bound(request, "connection_lost"), failure=failure
            )
        except anthropic.APIStatusError as error:
            return self._error_attempt(error)
        except _NO_JSON:
            message = None
        if not isinstance(message, Message):  # the SDK returns whatever else a 200 contains
            failure = ScoringFailure(
                ErrorCode.REPLY_UNREADABLE,
                "the response is not one of the Messages API: check teacher.base_url",
            )
            return Attempt(
                AttemptOutcome.REJECTION, self._bound(request, "unreadable"), failure=failure
            )
        outcome = str(message.stop_reason or "no_stop_reason")
        if (tokens := count_tokens(message, self._config.cache_ttl)) is None:
            return Attempt(
                AttemptOutcome.ANSWER,
                self._bound(request, outcome),
                message=message,
                headers=raw.headers,
            )
        call = self._pricer.counted(outcome, tokens, raw.headers.get("request-id"))
        return Attempt(AttemptOutcome.ANSWER, call, message=message, headers=raw.headers)

    def _error_attempt(self, error: anthropic.APIStatusError) -> Attempt[Message]:
        """An error response: not billed, and retried unless it is permanent."""
        status, kind = error.status_code, str(error.type or f"http_{error.status_code}")
        detail = explain_status(status, kind, str(error.api_message or error.message))
        wait_s = retry_after_s(error.response.headers.get("retry-after"))
        call = self._pricer.free(kind, error.request_id)
        # a 429 too, but it lasts until the limit is raised
        is_spend_limit = (error.error_code or "").endswith("spend_limit_reached")
        if status == 429 and not is_spend_limit:
            failure = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, detail, wait_s)
            return Attempt(
                AttemptOutcome.RATE_LIMIT, call, failure=failure, headers=error.response.headers
            )
        if is_worth_another_try(status) and not is_spend_limit:
            failure = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, detail, wait_s)
            return Attempt(AttemptOutcome.DOWN, call, failure=failure)
        return Attempt(
            AttemptOutcome.REJECTION,
            call,
            failure=ScoringFailure(ErrorCode.TEACHER_REJECTED, detail),
        )

    def _bound(self, request: dict[str, Any], outcome: str) -> TeacherCall:
        system = request["system"][0]["text"] if "system" in request else ""
        return self._pricer.bound(
            outcome, system, request["messages"][0]["content"], request["max_tokens"]
        )

    def _check_floor(self) -> None:
        """Warn at start if the rubric is too short for the model to cache: there is no error for
        that later.
        """
        if (found := self._requests.uncached_tokens()) is not None:
            tokens, floor = found
            log.warning(
                "%s caches prompts of at least %d tokens, the rubric has about %d: every call pays "
                "for it in full",
                self.model,
                floor,
                tokens,
            )
