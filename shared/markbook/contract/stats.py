"""`GET /stats` and `GET /stats/series`: what was counted, what may be spent, what applies."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from markbook.contract.agreement import TeacherAgreement
from markbook.contract.scoring import Source
from markbook.contract.wire import Score, Squares, Usd, Weighed, WireModel


class ScoreStats(WireModel):
    """How the scores of some samples are distributed.

    Adding up `count`, the sums and `histogram` combines several.
    """

    count: int = Field(
        default=0, description="Scored samples; without those scored before migration 0008."
    )
    mean: Score | None = Field(default=None, description="Mean score; null: no scores.")
    std: Score | None = Field(
        default=None, description="Population standard deviation; null: no scores."
    )
    sum: Score = Field(default=0.0, description="Sum of the scores.")
    sum_of_squares: Squares = Field(default=0.0, description="Sum of the squared scores.")
    histogram: list[int] = Field(
        default_factory=lambda: [0] * 10,
        min_length=10,
        max_length=10,
        description="Ten bins: item n counts scores above n/10, up to and including (n+1)/10; the "
        "first also 0.",
    )


class Counters(WireModel):
    """One run's counts, or all runs' together. `samples` = the sum of `by_source` + `unscored`."""

    samples: int = Field(default=0, description="Samples asked for.")
    by_source: dict[Source, int] = Field(
        default_factory=lambda: dict.fromkeys(Source, 0),
        description="Scored samples by where the mark came from.",
    )
    scores: ScoreStats = Field(
        default_factory=ScoreStats, description="The scores of the scored samples."
    )
    scores_by_source: dict[Source, ScoreStats] = Field(
        default_factory=dict,
        description="The same by where the mark came from; sources without a score are absent.",
    )
    agreement: TeacherAgreement = Field(
        default_factory=TeacherAgreement,
        description="The teacher's judgments that this paid for, against tests.",
    )
    unscored: int = Field(default=0, description="Samples that came back without a mark.")
    unscored_by_code: dict[str, int] = Field(
        default_factory=dict, description="Unscored samples by error code."
    )
    teacher_calls: int = Field(default=0, description="Calls to the teacher.")
    api_tokens_sent: int = Field(default=0, description="Every input token, cached ones included.")
    api_tokens_received: int = Field(default=0, description="Output tokens.")
    cache_read_input_tokens: int = Field(
        default=0, description="Input tokens read from the prompt cache."
    )
    cache_creation_input_tokens: int = Field(
        default=0, description="Input tokens written to the prompt cache."
    )
    billed_input_equivalent: Weighed = Field(
        default=0.0,
        description="Each kind of token weighed by its price over the base input price, output "
        "included.",
    )
    tokens_saved: int = Field(
        default=0,
        description="Estimated input of a whole-rubric, whole-task call per scored sample, less "
        "api_tokens_sent.",
    )
    cost_usd: Usd | None = Field(
        default=0.0, description="US dollars; null once a call's model had no known price."
    )
    usage_unknown_calls: int = Field(
        default=0, description="Calls whose bill is not known, booked at their bound."
    )
    usage_unknown_tokens: int = Field(default=0, description="The tokens they are booked at.")
    usage_unknown_cost_usd: Usd | None = Field(
        default=0.0,
        description="The US dollars they are booked at; null where a model's price is not known.",
    )


class CacheStats(WireModel):
    """Marks in the store, and its limits (null: none)."""

    entries: int = Field(description="Marks in the store.")
    bytes: int = Field(description="Without the texts; on SQLite the whole file.")
    max_entries: int | None = Field(
        default=None, description="store.cache_max_entries; null: no limit."
    )
    max_age_days: float | None = Field(
        default=None, description="store.cache_max_age_days; null: no limit."
    )


class TeacherStats(WireModel):
    """Who marks, and whether it answers."""

    name: str = Field(description="teacher.name of the configuration.")
    model: str = Field(description="The model's name at the provider.")
    is_stub: bool = Field(
        description="True for the static teacher: deterministic marks from syntax, no judge."
    )
    down_since: str | None = Field(
        default=None, description="ISO 8601: since when all its calls failed; null: it is up."
    )
    down_cause: str | None = Field(
        default=None, description="What the last of these calls came to."
    )
    description: str = Field(description="The teacher in one line for people.")


class ProfileInputs(WireModel):
    """What a mark depends on besides its sample: `profile` is a hash of this."""

    teacher: dict[str, JsonValue] = Field(
        description="Its name, its model and what else it is asked with."
    )
    rubric: str = Field(description="Version of the rubric.")
    template: str = Field(description="Version of the request's wording.")
    extractor: str = Field(description="Version of how code is taken from a completion.")
    max_group_size: int = Field(description="Most samples of one task in one call.")
    prompt_chars: int | None = Field(description="Characters of the task shown; null: all.")
    prompt_policy: str | None = Field(description="Which part is shown; null: all.")
    rubric_in_system_prompt: bool = Field(description="False: the rubric is part of each message.")


class BudgetState(WireModel):
    """One budget: what was spent of it, calls in progress included at their bound, and its
    limits.
    """

    spent_usd: Usd = Field(description="US dollars spent.")
    limit_usd: float | None = Field(description="Its limit in US dollars; null: none.")
    spent_tokens: int = Field(description="Tokens spent.")
    limit_tokens: int | None = Field(description="Its limit in tokens; null: none.")
    per: Literal["day", "month"] | None = Field(
        default=None,
        description="The current day or month (UTC) is counted; null: all since the store was "
        "created.",
    )

    def spent_share(self) -> float | None:
        """The spent share of its limits, the larger one; None where no limit is above zero."""
        limits = [(self.spent_usd, self.limit_usd), (self.spent_tokens, self.limit_tokens)]
        return max([spent / limit for spent, limit in limits if limit], default=None)


class AuditCount(WireModel):
    """Samples that the heuristic tier rejected for one reason in one language, and the teacher's
    scores of them.
    """

    reason: str = Field(description="Code of the heuristic tier (docs/reasons.md).")
    language: str = Field(description="The samples' language.")
    audited: int = Field(description="Rejected samples that the teacher marked as well.")
    at_or_above_threshold: int = Field(
        description="The tier was wrong about these, if the teacher is right."
    )
    mean_score: Score = Field(
        ge=0.0, le=1.0, description="The teacher's, which no client was given."
    )


class AuditStats(WireModel):
    """All runs together, under the service's profile: rlaif.heuristic_audit_rate of what the
    tier rejects.
    """

    rate: float = Field(default=0.0, description="Share of the rejected samples that is audited.")
    threshold: float = Field(
        default=0.0, description="The teacher's mark from which the tier counts as wrong."
    )
    is_stub: bool = Field(
        default=False, description="True: the teacher is no judge, and these counts prove nothing."
    )
    counts: list[AuditCount] = Field(default_factory=list, description="By reason and language.")


class AgreementCount(TeacherAgreement):
    """The agreement of one run, teacher and language."""

    run: str = Field(description="The run that paid for the judgments.")
    profile: str = Field(
        description="What the judgments depend on besides their samples: `profile_inputs` hashed."
    )
    model: str = Field(description="Its teacher's model.")
    rubric: str = Field(description="Its rubric's version.")
    language: str = Field(description="The samples' language.")


class AgreementStats(WireModel):
    """How far teachers agree with tests, in the period of the query."""

    tests_audit_rate: float = Field(
        default=0.0, description="Share of the samples that failed a test that is audited."
    )
    min_agreement: float | None = Field(
        default=None, description="rlaif.min_teacher_agreement; null: no limit."
    )
    min_samples: int = Field(default=0, description="rlaif.min_agreement_samples.")
    low_runs: list[str] = Field(
        default_factory=list,
        description="Runs whose agreement is below the limit, as this process last saw it.",
    )
    counts: list[AgreementCount] = Field(
        default_factory=list, description="By run, profile and language."
    )


class Stats(WireModel):
    """What was counted, what may be spent, and what applies."""

    totals: Counters = Field(description="All runs that the asker may see, together.")
    runs: dict[str, Counters] = Field(description="By run.")
    cache: CacheStats | None = Field(
        description="Null for a key of some runs: it counts what others have stored."
    )
    teacher: TeacherStats = Field(description="Who marks.")
    profile: str = Field(
        description="Hash of `profile_inputs`: marks of another profile are not served."
    )
    budgets: dict[str, BudgetState] = Field(
        default_factory=dict,
        description="By scope: `total`, the asker's `key NAME`, `run NAME` of each that has paid; "
        "`SCOPE per day` and `SCOPE per month` where a budget has a period.",
    )
    audits: AuditStats = Field(
        default_factory=AuditStats,
        description="How often the teacher contradicts the heuristic tier.",
    )
    agreement: AgreementStats = Field(
        default_factory=AgreementStats, description="How often the teacher agrees with tests."
    )
    policy: dict[str, bool | int | float | str] = Field(
        description="The current settings that marks depend on."
    )
    profile_inputs: ProfileInputs = Field(description="What a mark depends on besides its sample.")
    since: str = Field(
        description="ISO 8601: start of the period. Without `since`: when the store was created."
    )


class Bucket(StrEnum):
    """Time span of one point of a series; points begin on the minute, hour or day in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class SeriesPoint(WireModel):
    """The counts of one bucket."""

    bucket_start: str = Field(description="ISO 8601: the start of the bucket.")
    runs: dict[str, Counters] = Field(description="Of the runs that did something in it.")


class Series(WireModel):
    """Counts over time. A bucket in which nothing happened has no point.

    Minutes are kept for a day; older points are at the start of their hour.
    """

    since: str = Field(description="ISO 8601: the start of the first bucket.")
    bucket: Bucket = Field(description="Time span of one point.")
    points: list[SeriesPoint] = Field(description="Oldest first.")
