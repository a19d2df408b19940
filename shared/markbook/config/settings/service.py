"""The sections that the scoring service reads: where it listens, who marks, what may be spent,
where marks are kept.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from markbook.config.settings.section import Address, NonNegative, Positive, PositiveInt, Section


class Service(Section):
    """Where the scoring service listens and what it accepts."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback only by default.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000, description="TCP port; 0: a free one."
    )
    max_samples_per_request: Annotated[int, Field(gt=0, le=4096)] = Field(
        256, description="More than this is a 413."
    )
    max_samples_per_batch: Annotated[int, Field(gt=0, le=100_000)] = Field(
        10_000, description="Likewise of a batch."
    )
    max_sample_chars: PositiveInt = Field(
        100_000, description="Characters of task plus code; more is a 413."
    )
    max_tests_per_sample: PositiveInt = Field(1000, description="Tests per sample; more is a 413.")
    max_test_chars: PositiveInt = Field(
        100_000, description="Characters of a sample's tests and setup; more is a 413."
    )
    max_body_bytes: PositiveInt = Field(
        16 * 1024 * 1024, description="Bytes of a request body; more is a 413."
    )
    body_timeout_s: Positive = Field(
        60.0, description="Maximum seconds for a request's body to arrive."
    )
    max_held_body_bytes: PositiveInt = Field(
        256 * 1024 * 1024,
        description="Bytes of the bodies of all requests in progress; more is a 429.",
    )
    allowed_hosts: list[str] = Field(
        [],
        description="Host names accepted without API keys, besides addresses and names without a "
        "dot.",
    )
    allow_unauthenticated: bool = Field(
        False,
        description="Listen beyond loopback without API keys: anyone who can reach it can spend.",
    )
    max_concurrent_requests: PositiveInt = Field(
        256,
        description="Requests for marks in progress, per key (in total where there are no keys).",
    )
    max_queued_requests: Annotated[int, Field(ge=0)] = Field(
        1024, description="Queued requests, likewise; more is a 429."
    )
    shutdown_grace_s: NonNegative = Field(
        8.0, description="Seconds for calls in progress to finish at a stop."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text: for people; json: one object per line."
    )


class Price(Section):
    """What a model costs: US dollars a million tokens, cache prices as multiples of the input
    price.
    """

    input: NonNegative = Field(description="Input outside the prompt cache.")
    output: NonNegative = Field(description="Output, thinking included.")
    cache_read: NonNegative = Field(
        0.1, description="Times the input price for a token read from the prompt cache."
    )
    cache_write_5m: NonNegative = Field(
        1.25, description="Times the input price to write a token for 5 minutes."
    )
    cache_write_1h: NonNegative = Field(
        2.0, description="Times the input price to write a token for an hour."
    )
    long_prompt_tokens: PositiveInt | None = Field(
        None, description="Input tokens above which a call costs more."
    )
    long_prompt_factor: Annotated[float, Field(ge=1)] = Field(
        1.0, description="Times all prices for such a call."
    )
    batch: NonNegative = Field(
        0.5, description="Times all prices for a request of a message batch."
    )


PRICES_OF_2026_11 = {
    "claude-haiku-5-5": Price(
        input=0.10, output=0.50, long_prompt_tokens=100_000, long_prompt_factor=5.0
    ),
    "claude-haiku-4-5": Price(input=1.0, output=5.0),
    "claude-sonnet-5-5": Price(input=2.0, output=10.0, cache_read=0.05),
    "claude-opus-5-5": Price(input=4.0, output=20.0, cache_read=0.05),
}
"""List prices of November 2026, from the provider's price pages.

A `prices` key in the file replaces or adds models.
"""


class TeacherConfig(Section):
    """Who marks."""

    name: Literal["static", "anthropic"] = Field(
        "static", description="anthropic: Claude; static: an offline stub and no judge."
    )
    model: str = Field("claude-haiku-5-5", description="The anthropic teacher's model.")
    base_url: Address | None = Field(
        None, description="Another server that implements the Messages API; null: the provider's."
    )
    max_group_size: PositiveInt = Field(8, description="Samples of one task judged in one call.")
    gather_ms: NonNegative = Field(
        50.0,
        description="Milliseconds to wait for further requests of one sample of the same task; 0: "
        "off.",
    )
    shuffle_group: bool = Field(
        True, description="Show a group in a seeded random order, so that no position is favoured."
    )
    explain: bool = Field(
        False, description="Request a short reason per sample: about four times the output tokens."
    )
    constrain: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Hold replies to a JSON schema; auto: of models that are not Claude, where the "
        "server can.",
    )
    rubric: str | None = Field(
        None, description="A rubric file of your own; null: the built-in one."
    )
    effort: Literal["low", "medium", "high"] | None = Field(
        None,
        description="Sent to the model if set; null: low where thinking cannot be switched off, "
        "else not sent.",
    )
    thinking_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Output tokens for thinking per call; null: 2048 where Claude always thinks, "
        "else none.",
    )
    timeout_s: Positive = Field(150.0, description="Maximum seconds per group, retries included.")
    attempt_timeout_s: Positive = Field(
        60.0, description="Seconds after which one call is cancelled and retried."
    )
    max_concurrency: PositiveInt = Field(
        16, description="Maximum calls in flight; rate limits lower it automatically."
    )
    cache_ttl: Literal["5m", "1h"] = Field(
        "5m", description="Lifetime of the cached rubric; 1h is worth it for gaps over 5 minutes."
    )
    batch: Literal["off", "on"] = Field(
        "off",
        description="on: requests that do not set batch are answered as batches, at half the price "
        "within a day.",
    )
    batch_cache_ttl: Literal["5m", "1h"] = Field(
        "1h",
        description="Lifetime of the cached rubric in batches, whose requests are spread over "
        "time.",
    )
    batch_attempts: PositiveInt = Field(
        2,
        description="Batches in which a sample is tried whose request expired, was cancelled or "
        "failed; 1: only one.",
    )
    batch_poll_s: Positive = Field(
        60.0, description="Seconds between looks at a batch that is in progress."
    )
    batch_send_timeout_s: Positive = Field(
        300.0,
        description="Maximum seconds to send a batch; one whose sending was cut off is searched "
        "for as long.",
    )
    base_url_has_batches: bool = Field(
        False,
        description="The server at base_url has the Message Batches API, as a gateway to the "
        "provider may.",
    )
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description="Dollars by model; adds to and overrides PRICES_OF_2026_11.",
    )

    def price(self) -> Price | None:
        """The price of `model`, None if it is in neither table."""
        return self.prices.get(self.model) or PRICES_OF_2026_11.get(self.model)


class Budget(Section):
    """What may be spent, reservations included; null: no limit."""

    usd: Annotated[float, Field(ge=0, le=1e9)] | None = Field(None, description="US dollars.")
    tokens: Annotated[int, Field(ge=0, le=10**18)] | None = Field(
        None, description="Tokens sent and received, of every kind."
    )
    per: Literal["day", "month"] | None = Field(
        None,
        description="The limit is for each day or month (UTC); null: since the store was created.",
    )


class RecurringBudget(Budget):
    """A budget that always has a period."""

    per: Literal["day", "month"] = Field(
        "day", description="The limit is for each day or month (UTC)."
    )


class Budgets(Section):
    """Exhausted budgets leave samples unscored (budget_exhausted); stored marks are still
    served.
    """

    total: Budget = Field(default_factory=Budget, description="All runs together.")
    recurring: RecurringBudget = Field(
        default_factory=RecurringBudget,
        description="All runs together as well, per day or month, beside total.",
    )
    per_run: Budget = Field(default_factory=Budget, description="Each run that is not named below.")
    runs: dict[str, Budget] = Field(default_factory=dict, description="Runs by name.")

    def of_run(self, run: str) -> Budget:
        return self.runs.get(run, self.per_run)

    def in_dollars(self) -> bool:
        """Whether any limit is in dollars, so that the model's price must be known."""
        budgets = (self.total, self.recurring, self.per_run, *self.runs.values())
        return any(budget.usd is not None for budget in budgets)


class Execution(Section):
    """Where the tests of samples run: never outside a sandbox."""

    confirm: Literal["auto", "on", "not_run", "off"] = Field(
        "auto",
        description="Run what did not pass again in CPython inside bubblewrap; auto: where "
        "bubblewrap works; not_run: the same, but only what the first sandbox cannot run.",
    )
    test_timeout_s: Positive = Field(2.0, description="Maximum seconds for the code and one test.")
    sample_timeout_s: Positive = Field(
        5.0, description="Maximum seconds for all tests of a sample."
    )
    memory_mib: PositiveInt = Field(128, description="Maximum MiB per sample.")
    max_queued_samples: PositiveInt = Field(
        4096, description="Samples queued for a sandbox; more are unscored."
    )


class StoreConfig(Section):
    """Where marks and counts are kept."""

    database_url: str = Field(
        "sqlite:///data/markbook.db", description="A SQLAlchemy URL: sqlite or postgresql."
    )
    claim_lease_s: Positive = Field(
        15.0, description="Seconds after which another replica takes over the calls of a dead one."
    )
    store_samples: bool = Field(
        True, description="Store task and code of what the teacher judged, compressed."
    )
    keep_rejects: Annotated[int, Field(ge=0)] = Field(
        10_000,
        description="Samples listed that the heuristic tier or their tests decided, the latest; 0: "
        "none.",
    )
    keep_exchanges: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Requests to the teacher kept with the reply, the latest, for the page of a "
        "mark; 0: none.",
    )
    sample_retention_days: Positive | None = Field(
        None, description="Days after which these texts are deleted; null: never."
    )
    cache_max_age_days: Positive | None = Field(
        None, description="Days after which a mark expires; null: never."
    )
    cache_max_entries: PositiveInt | None = Field(
        None,
        description="Marks, and test verdicts, above which the least recently used are deleted; "
        "null: no limit.",
    )
    batch_retention_days: Positive | None = Field(
        30.0,
        description="Days until an ended batch and its results are deleted, not its marks; null: "
        "never.",
    )
    ledger_retention_days: Positive | None = Field(
        7.0,
        description="Days until ledger lines are deleted, not their sums; later retries count as "
        "new.",
    )

    @model_validator(mode="after")
    def _check_exchanges(self) -> Self:
        if self.keep_exchanges and not self.store_samples:
            raise ValueError(
                "keep_exchanges stores tasks and code as well, so it requires store_samples: true"
            )
        return self
