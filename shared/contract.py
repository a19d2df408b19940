"""The wire contract: request, result, stats and error models, one definition for both sides.

Field names are those of DESIGN's "The wire"; changing one is a breaking change for every client.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

DEFAULT_RUN = "default"

RunName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:/@+-]+$")]
RequestId = Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
ProfileId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Language = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"[^\s\x00-\x1f]")]  # not blank


class Source(StrEnum):
    """Where a mark came from. Every scored sample has exactly one."""

    HEURISTIC = "heuristic"
    CACHE = "cache"
    COALESCED = "coalesced"
    TEACHER = "teacher"


class Judged(StrEnum):
    """Which text of a completion is the code: it alone was judged, and `key` names it."""

    COMPLETION = "completion"
    """All of it: no fence opens a block in it."""
    BLOCK = "block"
    """A fenced block; of several the longest, those tagged with the language first."""
    BLOCK_CUT_OFF = "block_cut_off"
    """A fenced block that the end of the completion cut off."""
    BEFORE_FENCE = "before_fence"
    """What stands before a closing fence that nothing opened."""


class ErrorCode(StrEnum):
    """Why a sample is `unscored`. A reason, never a mark."""

    TEACHER_UNAVAILABLE = "teacher_unavailable"
    """Overloaded, rate limited, unreachable or failing: ask again after `retry_after_s`."""
    TEACHER_TIMEOUT = "teacher_timeout"
    """No answer before the deadline: ask again after `retry_after_s`. The call may have been billed."""
    TEACHER_REFUSED = "teacher_refused"
    """The teacher declined to mark this sample."""
    REPLY_TRUNCATED = "reply_truncated"
    """The reply ended before the sample's marks."""
    REPLY_UNREADABLE = "reply_unreadable"
    """The reply was not in the asked form, or a mark was missing, repeated or out of range."""
    TEACHER_REJECTED = "teacher_rejected"
    """The teacher's API refused the request or the key: asking again will not help."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    """The run's budget is spent. Marks already in the book are still served."""
    DEADLINE = "deadline"
    """No mark within `timeout_s`. If it was asked for it still comes into the book: ask again."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sample(_Wire):
    """One completion to be marked. `code` is the student's raw completion: extraction is the service's work."""

    prompt: str = Field(min_length=1, description="The whole task text, however little of it the teacher is shown.")
    language: Language = Field(
        description="`python`, `c++`, `rs`, …: aliases are known; an unknown one skips the parser."
    )
    code: str = Field(description="The raw completion, fences and chatter included.")


class ScoreRequest(_Wire):
    run: RunName = Field(default=DEFAULT_RUN, description="The name under which these samples are counted.")
    request_id: RequestId | None = Field(
        default=None, description="Repeat it when the same request is sent again, so that it is counted once."
    )
    timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        strict=True,  # else `true` would be a second
        description="Seconds after which what has no mark yet comes back `deadline`.",
    )
    samples: list[Sample] = Field(description="Samples to mark; the results keep their order.")


class Scored(_Wire):
    status: Literal["scored"] = "scored"
    score: float = Field(ge=0.0, le=1.0)
    source: Source
    criteria: dict[str, float] | None = Field(description="Null when the heuristic tier rejected the sample.")
    reasons: list[str] = Field(default_factory=list)
    judged: Judged
    key: str
    profile: str


class SampleError(_Wire):
    code: ErrorCode
    detail: str
    retry_after_s: float | None = None


class Unscored(_Wire):
    status: Literal["unscored"] = "unscored"
    score: None = None
    source: None = None
    error: SampleError
    judged: Judged
    key: str
    profile: str


Result = Annotated[Scored | Unscored, Field(discriminator="status")]


class RequestUsage(_Wire):
    """What this request made the service pay for. Tokens, and US dollars (null: price of the model not known)."""

    teacher_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cost_usd: float | None = 0.0


class ScoreResponse(_Wire):
    results: list[Result]
    usage: RequestUsage


class Counters(_Wire):
    """One run's counts, or all runs' together. `samples` = the sum of `by_source` + `unscored`."""

    samples: int = 0
    by_source: dict[Source, int] = Field(default_factory=lambda: dict.fromkeys(Source, 0))
    unscored: int = 0
    unscored_by_code: dict[str, int] = Field(default_factory=dict)
    teacher_calls: int = 0
    api_tokens_sent: int = Field(default=0, description="Every input token, cached ones included.")
    api_tokens_received: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    billed_input_equivalent: float = Field(
        default=0.0, description="Each kind of token weighed by its price over the base input price, output included."
    )
    tokens_saved: int = Field(
        default=0,
        description="Estimated input tokens of one whole-rubric, whole-task call a sample, less api_tokens_sent.",
    )
    cost_usd: float | None = Field(default=0.0, description="US dollars; null once a call's model had no known price.")
    usage_unknown_calls: int = Field(default=0, description="Calls whose bill is not known, booked at their bound.")
    usage_unknown_tokens: int = 0
    usage_unknown_cost_usd: float | None = 0.0


class CacheStats(_Wire):
    """Marks in the book, and the limits in force (null: none)."""

    entries: int
    bytes: int = Field(description="Without the texts; on SQLite the whole file.")
    max_entries: int | None = None
    max_age_days: float | None = None


class TeacherStats(_Wire):
    name: str
    model: str
    stand_in: bool = Field(description="True for the static teacher: deterministic marks from syntax, no judge.")
    note: str


class Identity(_Wire):
    """What a mark depends on besides its sample: `profile` is a hash of this."""

    teacher: dict[str, JsonValue] = Field(description="Its name, its model and what else it is asked with.")
    rubric: str = Field(description="Version of the rubric.")
    template: str = Field(description="Version of the request's wording.")
    extractor: str = Field(description="Version of how code is taken from a completion.")
    max_group_size: int
    prompt_chars: int | None = Field(description="Characters of the task shown; null: all.")
    prompt_policy: str | None = Field(description="Which part is shown; null: all.")
    rubric_in_system_prompt: bool


class BudgetState(_Wire):
    """One budget: what was spent of it, calls in progress included at their bound, and its limits (null: none)."""

    spent_usd: float
    limit_usd: float | None
    spent_tokens: int
    limit_tokens: int | None


class AuditCount(_Wire):
    """Samples that the heuristic tier rejected for one reason in one language, and what the teacher said of them."""

    reason: str
    language: str
    audited: int
    at_or_above_threshold: int = Field(description="The tier was wrong about these, if the teacher is right.")
    mean_score: float = Field(ge=0.0, le=1.0, description="The teacher's, which no client was given.")


class AuditStats(_Wire):
    """All runs together, under the service's profile: rlaif.heuristic_audit_rate of what the tier rejects."""

    rate: float = 0.0
    threshold: float = 0.0
    stand_in: bool = Field(default=False, description="True: the teacher is no judge, and these counts prove nothing.")
    counts: list[AuditCount] = Field(default_factory=list)


class Stats(_Wire):
    totals: Counters
    runs: dict[str, Counters]
    cache: CacheStats
    teacher: TeacherStats
    profile: str
    budgets: dict[str, BudgetState] = Field(
        default_factory=dict, description="By scope: `total`, the asker's `key NAME`, `run NAME` of each that has paid."
    )
    audits: AuditStats = Field(default_factory=AuditStats)
    policy: dict[str, bool | int | float | str] = Field(description="The settings in force that marks depend on.")
    identity: Identity
    since: str = Field(description="ISO 8601: what is counted from. Without a `since`: when the book was opened.")


class Bucket(StrEnum):
    """How much time one point of a series stands for. They begin on the minute, the hour, the day of UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class SeriesPoint(_Wire):
    at: str = Field(description="ISO 8601: the start of the bucket.")
    runs: dict[str, Counters] = Field(description="Of the runs that did something in it.")


class Series(_Wire):
    """Counts over time. A bucket in which nothing happened has no point.

    Minutes are kept for a day; what is older stands at the start of its hour.
    """

    since: str = Field(description="ISO 8601: the start of the first bucket.")
    bucket: Bucket
    points: list[SeriesPoint]


class KeptGroup(_Wire):
    """The samples of one task that the teacher was given together, and where this one stood in its request."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    place: int = Field(ge=1, le=32_767)
    size: int = Field(ge=1, le=32_767)


class KeptMark(_Wire):
    """A teacher's mark as the book has it."""

    key: str
    profile: ProfileId
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of profile, whole task, code and language.")
    language: str
    score: float | None = Field(description="With the weights in force; null for the criteria of another rubric.")
    criteria: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]]
    reasons: list[str]
    created: AwareDatetime
    group: KeptGroup
    task: str | None = Field(description="The whole task; null where texts are not kept.")
    code: str | None = Field(description="As extracted from the completion; null where texts are not kept.")


class KeptMarks(_Wire):
    """More than one where short hashes collide: their digests differ."""

    marks: list[KeptMark]


class ErrorBody(_Wire):
    """Every 4xx and 5xx body."""

    error: str
    detail: str
    field: str | None = None
