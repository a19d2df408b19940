"""The settings of both processes, section by section: every number has its type, default, unit and reason here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

SERVICE_OWNED = (
    "use_tiered_scoring",
    "heuristic_score_threshold",
    "truncate_prompt_for_scoring",
    "prompt_context_chars",
    "prompt_context_policy",
    "move_rubric_to_system_prompt",
)
"""Keys of `rlaif` that decide marks. The service's values are in force; a trainer that disagrees stops at start."""


class _Section(BaseModel):
    # strict: the string "false" is no boolean, and a silent guess would train a different model
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Training(_Section):
    """The student, its adapter and its optimizer."""

    model: str = Field(
        "HuggingFaceTB/SmolLM2-135M-Instruct", description="Hugging Face id, a folder, or bundled:smollm2-135m."
    )
    learning_rate: Positive = Field(1e-4, description="AdamW step size.")
    weight_decay: NonNegative = Field(0.0, description="AdamW decay; adapters are small, so none by default.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="How the step size falls from its peak to 0 at max_steps; it moves with updates."
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="Updates in which the step size rises from 0.")
    max_grad_norm: Positive = Field(1.0, description="Gradients are clipped to this norm.")
    max_steps: PositiveInt = Field(100, description="Optimizer steps in a run.")
    prompts_per_step: PositiveInt = Field(
        8, description="Tasks a step; each gets rlaif.num_samples_per_prompt samples."
    )
    max_prompt_tokens: PositiveInt = Field(1024, description="Tokens; a longer task stops the run at start, never cut.")
    max_new_tokens: PositiveInt = Field(256, description="Tokens a sample may have.")
    generation_batch_size: PositiveInt = Field(64, description="Samples written at a time; memory, not the result.")
    micro_batch_size: PositiveInt = Field(
        8, description="Samples a forward pass; memory, not the result, depends on it."
    )
    lora_r: PositiveInt = Field(16, description="Rank of the adapter.")
    lora_alpha: PositiveInt = Field(32, description="Adapter scale is lora_alpha / lora_r.")
    lora_dropout: Share = Field(0.0, description="0 keeps the sampled and the trained policy the same.")
    lora_target_modules: str | list[str] = Field("all-linear", description="Module names, or all-linear.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on a CPU."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute the layers again in the backward pass: less memory, one more forward pass."
    )
    load_in_4bit: bool = Field(
        False, description="Hold the frozen weights in 4 bits (NF4): a quarter of bfloat16's; wants bitsandbytes."
    )
    generation_url: str | None = Field(
        None, description="A vLLM server that draws the samples, with the adapter of each step; null: done here."
    )
    generation_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for a generation server that is away before giving up."
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Fixes task order, sampling and adapter initialisation.")
    tasks: str = Field("demo/tasks/train.jsonl", description="JSONL of {prompt, language} to train on.")
    eval_tasks: str | None = Field(
        "demo/tasks/eval.jsonl", description="JSONL kept apart, marked before and after; null: none."
    )
    eval_every_steps: PositiveInt | None = Field(None, description="Steps between; null: only before and after.")
    eval_samples_per_task: PositiveInt = Field(4, description="Samples a task in an evaluation, with fixed seeds.")
    system_prompt: str = Field(
        "You write code. Answer with one fenced code block and nothing else.",
        description="The chat template's system message; empty for none.",
    )
    output_dir: str = Field("runs", description="Each run gets a folder of its name in here.")
    save_every_steps: PositiveInt = Field(10, description="Steps between checkpoints; --resume goes on from one.")
    save_total_limit: PositiveInt = Field(2, description="Checkpoints kept, the newest.")
    trackers: list[str] = Field(["tensorboard"], description="Of metrics, by Accelerate's names: wandb, mlflow, ...")


class Rlaif(_Section):
    """Marks into rewards: sampling, the objective, and how the service marks."""

    reward_threshold: Share = Field(
        0.0, description="Samples marked strictly below it leave the loss, not the baseline."
    )
    reward_weight: Positive = Field(
        1.0, description="Times the mark; whitening takes it out again, but for kl_in: reward."
    )
    generation_temperature: Positive = Field(0.85, description="Sampling temperature.")
    num_samples_per_prompt: Annotated[int, Field(ge=2)] = Field(4, description="Samples a task: a baseline needs two.")
    use_advantage_normalization: bool = Field(True, description="Group baseline and whitening; false: the raw reward.")
    advantage_baseline: Literal["mean", "leave_one_out"] = Field(
        "mean", description="Of the group's scored samples: all of them, or all others."
    )
    whiten_advantages: bool = Field(True, description="Over the deviation in the batch; false: baseline only.")
    loss: Literal["reinforce", "ppo_clip"] = Field("reinforce", description="The policy term.")
    clip_range: Positive = Field(0.2, description="ppo_clip: how far the ratio to the sampling policy may go from 1.")
    loss_mean: Literal["token", "sequence"] = Field(
        "token", description="Every token counts the same, or every sample; policy and KL term alike."
    )
    max_staleness: Annotated[int, Field(ge=0, le=1)] = Field(
        0, description="Updates a sample may be behind: 1 writes the next batch while the last one's marks arrive."
    )
    importance_cap: Positive = Field(
        2.0, description="reinforce on samples that old, or a generation server's: the most that a token may weigh."
    )
    use_frozen_reference_for_kl: bool = Field(True, description="KL term to the frozen base; false: no KL term.")
    kl_reference: Literal["adapter_off", "copy"] = Field(
        "adapter_off", description="The model without its adapter, or a second copy of it in memory."
    )
    kl_penalty: NonNegative = Field(0.1, description="Coefficient of the KL term.")
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = Field(
        "k3", description="exact: over the vocabulary. k1 is for the reward: in the loss it pulls nowhere on average."
    )
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="A term of the loss, or taken from each sample's reward, summed over its tokens."
    )
    adaptive_kl_enabled: bool = Field(False, description="Steer kl_penalty so that the KL stays near target_kl.")
    target_kl: Positive = Field(0.075, description="Nats a token.")
    kl_gain: Positive = Field(0.1, description="The coefficient moves by at most a fifth of this share a step.")
    use_tiered_scoring: bool = Field(True, description="The heuristic tier rejects broken code before anyone pays.")
    heuristic_score_threshold: Share = Field(0.3, description="Heuristic score strictly below it: marked by the tier.")
    heuristic_audit_rate: Share = Field(
        0.0, description="Share of rejected samples shown to the teacher too, to check the tier; paid for."
    )
    truncate_prompt_for_scoring: bool = Field(True, description="Show the teacher prompt_context_chars of the task.")
    prompt_context_chars: PositiveInt = Field(200, description="Characters of the task shown to the teacher.")
    prompt_context_policy: Literal["head", "head_tail"] = Field(
        "head", description="Show its start, or its start and its end in equal parts."
    )
    move_rubric_to_system_prompt: bool = Field(True, description="Rubric as system prompt, where it can be cached.")
    scoring_url: str = Field("http://127.0.0.1:8000", description="Where the scoring service listens.")
    run: str | None = Field(None, description="Run id at the service; null: made from the time and the seed.")
    service_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for a service that is away before giving up."
    )
    request_timeout_s: Positive = Field(180.0, description="Seconds one request for marks may take.")
    max_unscored_share: Share = Field(
        0.5, description="More of a batch without marks: pause and ask again, service_wait_s at most; 1: never."
    )
    reward_hacking_action: Literal["warn", "stop"] = Field(
        "warn", description="What passing a limit below does, once each: a warning, or save and end the run."
    )
    reward_hacking_window: PositiveInt = Field(10, description="Steps whose mean is held against each limit.")
    max_length_correlation: Share | None = Field(0.5, description="Of judged marks with length, + or -; null: any.")
    max_identical_share: Share | None = Field(0.5, description="Of samples that equal another; null: any.")
    max_ceiling_share: Share | None = Field(0.9, description="Of marks of 0.95 or more; null: any.")
    max_kl: Positive | None = Field(0.5, description="Nats a token; null: any.")


class Service(_Section):
    """Where the scoring service listens and what it accepts."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback only unless said otherwise.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="TCP port; 0 takes a free one.")
    max_samples_per_request: Annotated[int, Field(gt=0, le=4096)] = Field(256, description="More than this is a 413.")
    max_sample_chars: PositiveInt = Field(100_000, description="Characters of task plus code; more is a 413.")
    max_body_bytes: PositiveInt = Field(16 * 1024 * 1024, description="Bytes of a request body; more is a 413.")
    allow_without_keys: bool = Field(
        False, description="Listen beyond loopback though there are no API keys: whoever reaches it can spend."
    )
    max_concurrent_requests: PositiveInt = Field(
        256, description="Requests for marks in progress, a key (and in all where there are no keys)."
    )
    max_waiting_requests: Annotated[int, Field(ge=0)] = Field(
        1024, description="Requests that wait for their turn, likewise; more is a 429."
    )
    stop_grace_s: NonNegative = Field(8.0, description="Seconds that calls in progress have to finish at a stop.")
    log_format: Literal["text", "json"] = Field("text", description="The log for people, or an object a line.")


class Price(_Section):
    """What a model costs: US dollars a million tokens, cache prices as multiples of the input price."""

    input: NonNegative = Field(description="Input outside the prompt cache.")
    output: NonNegative = Field(description="Output, thinking included.")
    cache_read: NonNegative = Field(0.1, description="Times the input price for a token read from the prompt cache.")
    cache_write_5m: NonNegative = Field(1.25, description="Times the input price to write a token for 5 minutes.")
    cache_write_1h: NonNegative = Field(2.0, description="Times the input price to write a token for an hour.")
    long_prompt_tokens: PositiveInt | None = Field(None, description="Input tokens above which a call costs more.")
    long_prompt_factor: Annotated[float, Field(ge=1)] = Field(1.0, description="Times all prices for such a call.")


PRICES_OF_2026_11 = {
    "claude-haiku-5-5": Price(input=0.10, output=0.50, long_prompt_tokens=100_000, long_prompt_factor=5.0),
    "claude-haiku-4-5": Price(input=1.0, output=5.0),
    "claude-sonnet-5-5": Price(input=2.0, output=10.0, cache_read=0.05),
    "claude-opus-5-5": Price(input=4.0, output=20.0, cache_read=0.05),
}
"""List prices of November 2026, from the provider's price pages. A `prices` key in the file replaces or adds models."""


class TeacherConfig(_Section):
    """Who marks."""

    name: Literal["static", "anthropic"] = Field("static", description="static is an offline stand-in and no judge.")
    model: str = Field("claude-haiku-5-5", description="The anthropic teacher's model.")
    base_url: str | None = Field(None, description="Another server that speaks the Messages API; null: the provider's.")
    max_group_size: PositiveInt = Field(8, description="Samples of one task judged in one call.")
    shuffle_group: bool = Field(
        True, description="Show a group in a seeded random order, so that no place is favoured."
    )
    explain: bool = Field(False, description="Ask for a short reason a sample: about four times the output tokens.")
    rubric: str | None = Field(None, description="A rubric file of your own; null: the built-in one.")
    effort: Literal["low", "medium", "high"] | None = Field(
        None, description="Sent to the model if set; null: low where thinking cannot be switched off, else not sent."
    )
    thinking_tokens: Annotated[int, Field(ge=0)] = Field(
        2048, description="Output tokens left for thinking in a call, where the model cannot be told not to think."
    )
    timeout_s: Positive = Field(
        150.0, description="Seconds a group may take in all, retries and second asking included."
    )
    attempt_timeout_s: Positive = Field(
        60.0, description="Seconds one call may take before it is given up and retried."
    )
    max_concurrency: PositiveInt = Field(16, description="Calls in flight at most; rate limits lower it by themselves.")
    cache_ttl: Literal["5m", "1h"] = Field(
        "5m", description="Life of the cached rubric; 1h pays for gaps over 5 minutes."
    )
    prices: dict[str, Price] = Field(
        default_factory=dict, description="Dollars by model; adds to and replaces PRICES_OF_2026_11."
    )

    def price(self) -> Price | None:
        """The price of `model`, None if it is in neither table."""
        return self.prices.get(self.model) or PRICES_OF_2026_11.get(self.model)


class Budget(_Section):
    """What may be spent, reservations included; null: no limit."""

    usd: Annotated[float, Field(ge=0, le=1e9)] | None = Field(None, description="US dollars.")
    tokens: Annotated[int, Field(ge=0, le=10**18)] | None = Field(
        None, description="Tokens sent and received, of every kind."
    )


class Budgets(_Section):
    """Spent budgets leave samples unscored (budget_exhausted); marks in the book are still served."""

    total: Budget = Field(default_factory=Budget, description="All runs together, since the book was opened.")
    per_run: Budget = Field(default_factory=Budget, description="Each run that is not named below.")
    runs: dict[str, Budget] = Field(default_factory=dict, description="Runs by name.")

    def of_run(self, run: str) -> Budget:
        return self.runs.get(run, self.per_run)

    def in_dollars(self) -> bool:
        """Whether any limit is in dollars, so that the model's price must be known."""
        return any(budget.usd is not None for budget in (self.total, self.per_run, *self.runs.values()))


class StoreConfig(_Section):
    """Where marks and counts are kept."""

    database_url: str = Field("sqlite:///data/markbook.db", description="A SQLAlchemy URL: sqlite or postgresql.")
    claim_lease_s: Positive = Field(15.0, description="Seconds after which a dead replica's calls are made by another.")
    keep_texts: bool = Field(True, description="Keep task and code of what the teacher marked, compressed.")
    keep_texts_days: Positive | None = Field(None, description="Days after which these texts go; null: never.")
    cache_max_age_days: Positive | None = Field(
        None, description="Days after which a mark is asked for anew; null: never."
    )
    cache_max_entries: PositiveInt | None = Field(
        None, description="Marks above which those longest unused go; null: no limit."
    )
    keep_lines_days: Positive | None = Field(
        7.0, description="Days after which ledger lines go, their sums stay; a retry later than that counts anew."
    )


class Config(_Section):
    """The whole file. Sections and keys left out take their defaults."""

    training: Training = Field(default_factory=Training)
    rlaif: Rlaif = Field(default_factory=Rlaif)
    service: Service = Field(default_factory=Service)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    budgets: Budgets = Field(default_factory=Budgets)
    store: StoreConfig = Field(default_factory=StoreConfig)
