"""The section `rlaif`: rewards of the trainer.

Its parts that decide marks belong to the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from markbook.config.settings.objectives import ObjectiveName, fill_in_objective
from markbook.config.settings.section import (
    Address,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
)

SERVICE_OWNED = (
    "use_tests",
    "tests_policy",
    "use_tiered_scoring",
    "heuristic_score_threshold",
    "truncate_prompt_for_scoring",
    "prompt_context_chars",
    "prompt_context_policy",
    "move_rubric_to_system_prompt",
)
"""Keys of `rlaif` that decide marks.

The service's values apply; a trainer that disagrees stops at start.
"""


class Rlaif(Section):
    """Marks into rewards: sampling, the objective, and how the service marks."""

    reward_threshold: Share = Field(
        0.0, description="Samples marked strictly below it leave the loss, not the baseline."
    )
    reward_weight: Positive = Field(
        1.0, description="Factor of the mark; whitening cancels it, except with kl_in: reward."
    )
    generation_temperature: Positive = Field(0.85, description="Sampling temperature.")
    num_samples_per_prompt: Annotated[int, Field(ge=2)] = Field(
        4, description="Samples per task: a baseline needs two."
    )
    use_advantage_normalization: bool = Field(
        True, description="Group baseline and whitening; false: the raw reward."
    )
    objective: ObjectiveName = Field(
        "reinforce",
        description="Sets the keys below that are null: docs/trainer.md has its value of each.",
    )
    advantage_baseline: Literal["mean", "leave_one_out"] = Field(
        "mean",
        description="Mean over the group's scored samples: all of them, or all others "
        "(leave_one_out).",
    )
    whiten_advantages: bool = Field(
        True, description="Divide by a standard deviation; false: baseline only."
    )
    whiten_over: Literal["batch", "group"] = Field(
        "batch", description="The standard deviation over the batch, or in each group."
    )
    loss: Literal["reinforce", "ppo_clip"] = Field(
        "reinforce", description="The policy term: reinforce or ppo_clip."
    )
    clip_range: Positive = Field(
        0.2, description="ppo_clip: how far the ratio to the sampling policy may be below 1."
    )
    clip_range_high: Positive = Field(
        0.2,
        description="ppo_clip: how far it may be above 1; where the objective has none, "
        "clip_range.",
    )
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token",
        description="A ratio per token, or per sample the geometric mean of its tokens' "
        "(sequence).",
    )
    importance_sampling_cap: Positive = Field(
        2.0,
        description="reinforce on samples of an earlier policy, or of a generation server: maximum "
        "weight.",
    )
    loss_agg_mode: Literal["token", "sequence", "sequence_sum", "constant"] = Field(
        "token",
        description="Mean over tokens, or over samples: of their mean (sequence), sum "
        "(sequence_sum), or sum over max_new_tokens (constant).",
    )
    mask_truncated: bool = Field(
        False, description="Samples cut off at max_new_tokens leave the loss, not the baseline."
    )
    use_frozen_reference_for_kl: bool = Field(
        True, description="KL term to the frozen base; false: no KL term."
    )
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = Field(
        "k3",
        description="k1, k2, k3, or exact; k1 only with kl_in: reward (its gradient in the loss is "
        "0 on average).",
    )
    kl_in: Literal["loss", "reward"] = Field(
        "loss",
        description="A term of the loss, or subtracted from each sample's reward, summed over its "
        "tokens.",
    )
    entropy_coef: NonNegative = Field(0.0, description="Coefficient of the entropy bonus; 0: none.")
    updates_per_batch: PositiveInt = Field(
        1, description="Optimizer steps on each batch, over all its epochs."
    )
    epochs_per_batch: PositiveInt = Field(
        1,
        description="Passes over each batch, updates_per_batch / epochs_per_batch parts "
        "(minibatches) in each.",
    )
    max_staleness: Annotated[int, Field(ge=0, le=1)] = Field(
        0,
        description="Batches a sample may be behind: 1 generates the next batch while the last "
        "one's marks arrive.",
    )
    kl_reference: Literal["adapter_off", "copy"] = Field(
        "adapter_off",
        description="The model without its adapter, or a second copy of it in memory (copy).",
    )
    kl_penalty: NonNegative = Field(0.1, description="Coefficient of the KL term.")
    adaptive_kl_enabled: bool = Field(
        False, description="Steer kl_penalty so that the KL stays near target_kl."
    )
    target_kl: Positive = Field(0.075, description="Nats per token.")
    kl_gain: Positive = Field(
        0.1, description="The coefficient changes by at most a fifth of this fraction per step."
    )
    use_tests: bool = Field(
        True, description="Run the tests of samples that have any; false: ignore them."
    )
    tests_policy: Literal["gate", "advise", "only"] = Field(
        "gate",
        description="gate: a failed test decides; advise: tests set correctness; only: no teacher.",
    )
    use_tiered_scoring: bool = Field(
        True, description="The heuristic tier rejects broken code before it costs anything."
    )
    heuristic_score_threshold: Share = Field(
        0.3, description="Heuristic scores strictly below it are final."
    )
    heuristic_audit_rate: Share = Field(
        0.0,
        description="Fraction of rejected samples also sent to the teacher, to check the tier; "
        "paid for.",
    )
    tests_audit_rate: Share = Field(
        0.0,
        description="Fraction of samples that failed a test also sent to the teacher, to check the "
        "teacher; paid for.",
    )
    truncate_prompt_for_scoring: bool = Field(
        True, description="Send the teacher only prompt_context_chars of the task."
    )
    prompt_context_chars: PositiveInt = Field(
        200, description="Characters of the task sent to the teacher."
    )
    prompt_context_policy: Literal["head", "head_tail"] = Field(
        "head", description="Its start, or its start and its end in equal parts (head_tail)."
    )
    move_rubric_to_system_prompt: bool = Field(
        True, description="Rubric as system prompt, where the provider can cache it."
    )
    scoring_url: Address = Field(
        "http://127.0.0.1:8000", description="Address of the scoring service."
    )
    run: str | None = Field(
        None, description="Run id at the service; null: made from the time and the seed."
    )
    service_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for an unavailable service before giving up."
    )
    request_timeout_s: Positive = Field(180.0, description="Maximum seconds per request for marks.")
    max_unscored_fraction: Share = Field(
        0.5,
        description="Unscored fraction above which to pause and retry (for service_wait_s); 1: "
        "never.",
    )
    reward_hacking_action: Literal["warn", "stop"] = Field(
        "warn",
        description="When a limit below is exceeded, once each: warn, or save and end the run "
        "(stop).",
    )
    reward_hacking_window: PositiveInt = Field(
        10, description="Steps whose mean is compared with each limit."
    )
    max_length_correlation: Share | None = Field(
        0.5, description="Correlation of judged marks with length, + or -; null: no limit."
    )
    max_identical_fraction: Share | None = Field(
        0.5, description="Of samples that equal another; null: no limit."
    )
    max_ceiling_fraction: Share | None = Field(
        0.9, description="Of marks of 0.95 or more; null: no limit."
    )
    max_memorized_fraction: Share | None = Field(
        0.1,
        description="Of samples that contain a table of their tests' inputs and results; null: no "
        "limit.",
    )
    max_kl: Positive | None = Field(0.5, description="Nats per token; null: no limit.")
    min_teacher_agreement: Share | None = Field(
        0.6,
        description="Of the teacher with tests, chance is 0.5; the service checks it as well; "
        "null: no limit.",
    )
    min_agreement_samples: PositiveInt = Field(
        50, description="Judged samples that passed, or that failed, from which they count for it."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_objective(cls, section: Any) -> Any:
        return fill_in_objective(section) if isinstance(section, Mapping) else section

    @field_validator("tests_audit_rate")
    @classmethod
    def _audited_by_a_teacher(cls, rate: float, info: ValidationInfo) -> float:
        if rate and info.data.get("tests_policy") == "only":
            raise ValueError("0 with rlaif.tests_policy: only, which asks no teacher")
        return rate

    @field_validator("epochs_per_batch")
    @classmethod
    def _whole_minibatches(cls, epochs: int, info: ValidationInfo) -> int:
        updates = info.data.get("updates_per_batch", epochs)
        if updates % epochs:
            raise ValueError(f"a divisor of rlaif.updates_per_batch ({updates})")
        return epochs
