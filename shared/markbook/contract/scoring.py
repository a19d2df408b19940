"""`POST /score`: samples in, a mark or the reason for none out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from markbook.contract.wire import (
    DEFAULT_RUN,
    Language,
    RequestId,
    RunName,
    Score,
    Seconds,
    Test,
    Usd,
    WireModel,
)


class Source(StrEnum):
    """Where a mark came from. Every scored sample has exactly one."""

    HEURISTIC = "heuristic"
    TESTS = "tests"
    CACHE = "cache"
    COALESCED = "coalesced"
    TEACHER = "teacher"


class ExtractedFrom(StrEnum):
    """Which text of a completion is the code: it alone was judged, and `key` names it."""

    COMPLETION = "completion"
    """All of it: no fence opens a block in it."""
    BLOCK = "block"
    """A fenced block; of several the longest, those tagged with the language first."""
    BLOCK_CUT_OFF = "block_cut_off"
    """A fenced block that the end of the completion cut off."""
    BEFORE_FENCE = "before_fence"
    """The text before a closing fence without an opening one."""


class ErrorCode(StrEnum):
    """Why a sample is `unscored`. A reason, never a mark."""

    TEACHER_UNAVAILABLE = "teacher_unavailable"
    """Overloaded, rate limited, unreachable or failing: retry after `retry_after_s`."""
    TEACHER_TIMEOUT = "teacher_timeout"
    """No answer before the deadline: retry after `retry_after_s`. The call may have been billed."""
    TEACHER_REFUSED = "teacher_refused"
    """The teacher declined to mark this sample."""
    REPLY_TRUNCATED = "reply_truncated"
    """The reply ended before the sample's marks."""
    REPLY_UNREADABLE = "reply_unreadable"
    """The reply was not in the asked form, or a mark was missing, repeated or out of range."""
    TEACHER_REJECTED = "teacher_rejected"
    """The teacher's API refused the request or the key: asking again will not help."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    """The run's budget is exhausted. Stored marks are still served."""
    DEADLINE = "deadline"
    """No mark within `timeout_s`.

    A call in progress continues and its mark will be cached: retry.
    """
    EXECUTION_UNAVAILABLE = "execution_unavailable"
    """The sandbox that runs tests failed or is overloaded: retry after `retry_after_s`."""
    TESTS_UNSUPPORTED = "tests_unsupported"
    """The sample's tests cannot be run here: no sandbox for its language, or for what the tests
    use.
    """
    TESTS_MISSING = "tests_missing"
    """`rlaif.tests_policy` is `only`, and the sample has no tests to be scored by."""
    IN_BATCH = "in_batch"
    """A batch has asked for this sample: its mark is stored when that ends, and asking for it
    now would pay twice.
    """


def _is_empty(value: object) -> bool:
    """A sample without tests goes over the wire as it did before there were any."""
    return not value


def _is_unset(value: object) -> bool:
    return value is None


class Sample(WireModel):
    """One completion to be marked.

    `code` is the student's raw completion: extraction is the service's work.
    """

    prompt: str = Field(
        min_length=1, description="The whole task text, however little of it the teacher is shown."
    )
    language: Language = Field(
        description="`python`, `c++`, `rs`, …: aliases are known; an unknown one skips the parser."
    )
    code: str = Field(description="The raw completion, fences and chatter included.")
    tests: list[Test] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Statements in Python, each one test: it is run after the code, and passes "
        "unless it raises.",
    )
    test_setup: str = Field(
        default="",
        exclude_if=_is_empty,
        description="Statements before each test: imports, helpers, data.",
    )


class ScoreRequest(WireModel):
    """Samples to be marked, and the run that they are counted for."""

    run: RunName = Field(
        default=DEFAULT_RUN, description="The name under which these samples are counted."
    )
    request_id: RequestId | None = Field(
        default=None,
        description="Repeat it when the same request is sent again, so that it is counted once.",
    )
    timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        strict=True,  # else `true` would be a second
        description="Seconds after which what has no mark yet comes back `deadline`.",
    )
    batch: bool | None = Field(
        default=None,
        exclude_if=_is_unset,
        strict=True,
        description="True: answered 202 with a batch, at half the price, within a day; null: as "
        "`teacher.batch` is.",
    )
    samples: list[Sample] = Field(description="Samples to mark; the results keep their order.")


_EXTRACTED_FROM = "Which text of the completion was taken for the code."
_KEY = (
    "Names the sample: `STUDENT:`, short hashes of task and code, the language. `GET /marks` "
    "takes it."
)
_PROFILE = (
    "Hash of all that a mark depends on besides its sample: `profile_inputs` of `GET /stats`."
)


class SampleTests(WireModel):
    """What came of a sample's tests.

    `passed` and `total` count tests that ran; the rest is `not_run`.
    """

    passed: int = Field(ge=0, description="Tests that passed.")
    total: int = Field(ge=0, description="Tests that ran: passed and failed.")
    first_failure: str | None = Field(
        default=None, description="The first failed test, with expected and got."
    )
    not_run: int = Field(
        default=0, ge=0, description="Tests that the sandbox lacks something for: no failures."
    )


class Scored(WireModel):
    """A sample with a mark."""

    status: Literal["scored"] = Field(
        default="scored", description="Distinguishes this result from an unscored one."
    )
    score: Score = Field(ge=0.0, le=1.0, description="The mark, in [0, 1].")
    source: Source = Field(description="Where the mark came from.")
    criteria: dict[str, Score] | None = Field(
        description="Null when the heuristic tier rejected the sample; `correctness` alone when a "
        "test failed."
    )
    reasons: list[str] = Field(
        default_factory=list,
        description="Reason codes of the heuristic tier (docs/reasons.md), or the teacher's "
        "reasons.",
    )
    tests: SampleTests | None = Field(default=None, description="Null where no tests were run.")
    explanation: str | None = Field(
        default=None,
        description="What the tier's codes mean, for people; null where the teacher marked.",
    )
    extracted_from: ExtractedFrom = Field(description=_EXTRACTED_FROM)
    key: str = Field(description=_KEY)
    profile: str = Field(description=_PROFILE)


class SampleError(WireModel):
    """Why a sample has no mark."""

    code: ErrorCode = Field(description="The reason, for programs.")
    detail: str = Field(description="The reason, in one line for people.")
    retry_after_s: Seconds | None = Field(
        default=None, description="Seconds after which asking again may help; null: it will not."
    )


class Unscored(WireModel):
    """A sample without a mark. It is not cached, and a trainer leaves it out of its loss."""

    status: Literal["unscored"] = Field(
        default="unscored", description="Distinguishes this result from a scored one."
    )
    score: None = Field(default=None, description="Always null: there is no default score.")
    source: None = Field(default=None, description="Always null, as there is no mark.")
    error: SampleError = Field(description="Why there is no mark.")
    extracted_from: ExtractedFrom = Field(description=_EXTRACTED_FROM)
    key: str = Field(description=_KEY)
    profile: str = Field(description=_PROFILE)


Result = Annotated[Scored | Unscored, Field(discriminator="status")]


class RequestUsage(WireModel):
    """What this request made the service pay for."""

    teacher_calls: int = Field(default=0, description="Calls to the teacher.")
    input_tokens: int = Field(
        default=0, description="Input tokens that the prompt cache had no part in."
    )
    output_tokens: int = Field(default=0, description="Output tokens.")
    cache_read_input_tokens: int = Field(
        default=0, description="Input tokens read from the prompt cache."
    )
    cache_creation_input_tokens: int = Field(
        default=0, description="Input tokens written to the prompt cache."
    )
    cost_usd: Usd | None = Field(
        default=0.0, description="US dollars; null where the model's price is not known."
    )


class ScoreResponse(WireModel):
    """One result per sample, and what they cost."""

    results: list[Result] = Field(description="One result per sample, in the order of the request.")
    usage: RequestUsage = Field(description="What this request made the service pay for.")
