"""The sections that the trainer reads: the student and its rewards. Parts of `rlaif` belong to the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from markbook.config.settings.objectives import ObjectiveName, fill_in_objective
from markbook.config.settings.section import Address, NonNegative, Positive, PositiveInt, Section, Share

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
"""Keys of `rlaif` that decide marks. The service's values apply; a trainer that disagrees stops at start."""

_TEMPLATE_ARGUMENTS = frozenset({"add_generation_prompt", "conversation", "return_dict", "tokenize"})
"""Arguments of `apply_chat_template` that the trainer passes itself."""


class Training(Section):
    """The student, its adapter and its optimizer."""

    model: str = Field(
        "HuggingFaceTB/SmolLM2-135M-Instruct", description="Hugging Face id, a folder, or bundled:smollm2-135m."
    )
    learning_rate: Positive = Field(1e-4, description="AdamW step size.")
    weight_decay: NonNegative = Field(0.0, description="AdamW decay; adapters are small, so none by default.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="How the step size falls from its peak to 0 at max_steps (linear, cosine); counted in updates.",
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="Updates over which the step size rises from 0.")
    max_grad_norm: Positive = Field(1.0, description="Gradients are clipped to this norm.")
    max_steps: PositiveInt = Field(
        100, description="Batches in a run; rlaif.updates_per_batch optimizer steps on each."
    )
    prompts_per_step: PositiveInt = Field(
        8, description="Tasks per step; each gets rlaif.num_samples_per_prompt samples."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {"enable_thinking": False},
        description="Variables of the model's chat template; thinking is off, as in Qwen3's.",
    )
    max_prompt_tokens: PositiveInt = Field(
        1024, description="Tokens; a longer task stops the run at start and is never truncated."
    )
    max_new_tokens: PositiveInt = Field(256, description="Maximum tokens per sample.")
    generation_batch_size: PositiveInt = Field(
        64, description="Samples generated at a time; changes memory, not the result."
    )
    micro_batch_size: PositiveInt = Field(8, description="Samples per forward pass; changes memory, not the result.")
    lora_r: PositiveInt = Field(16, description="Rank of the adapter.")
    lora_alpha: PositiveInt = Field(32, description="Adapter scale is lora_alpha / lora_r.")
    lora_dropout: Share = Field(0.0, description="0 keeps the sampling and the trained policy the same.")
    lora_target_modules: str | list[str] = Field("all-linear", description="Module names, or all-linear.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto uses a GPU where there is one.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on a CPU; of the frozen weights: the adapter is float32."
    )
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto", description="auto: FlashAttention where it is installed and fits, else the model's choice, mostly sdpa."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute the layers in the backward pass: less memory, one more forward pass."
    )
    load_in_4bit: bool = Field(
        False, description="Hold the frozen weights in 4 bits (NF4): a quarter of bfloat16's; requires bitsandbytes."
    )
    generation: Literal["hf", "vllm"] = Field(
        "hf",
        description="hf: in the trainer, or by generation_url; vllm: by a vLLM server that the trainer runs itself.",
    )
    generation_url: Address | None = Field(
        None,
        description="A vLLM server that generates the samples, with the adapter of each step; null: generated here.",
    )
    generation_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for an unavailable generation server before giving up."
    )
    vllm_command: str = Field("vllm", description="generation vllm: the command of vLLM, or its path in another venv.")
    vllm_args: list[str] = Field([], description="generation vllm: further arguments of vllm serve.")
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="generation vllm: fraction of the GPU's memory that it takes; the trainer needs the rest."
    )
    vllm_enable_sleep_mode: bool = Field(
        True, description="generation vllm, on a GPU: free its memory between steps; takes that much of the host's."
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Fixes task order, sampling and adapter initialisation.")
    tasks: str = Field("demo/tasks/train.jsonl", description="JSONL of {prompt, language, tests} to train on.")
    task_sampling: Literal["uniform", "frontier"] = Field(
        "uniform", description="uniform: each once per epoch; frontier: more often those that both passed and failed."
    )
    max_group_replacements: Annotated[int, Field(ge=0)] = Field(
        0, description="Groups per step replaced by other tasks where all marks of a group are the same."
    )
    eval_tasks: str | None = Field(
        "demo/tasks/eval.jsonl", description="Held-out JSONL, marked before and after; null: none."
    )
    eval_every_steps: PositiveInt | None = Field(
        None, description="Steps between evaluations; null: only before and after."
    )
    eval_samples_per_task: PositiveInt = Field(4, description="Samples per task in an evaluation, with fixed seeds.")
    system_prompt: str = Field(
        "You write code. Answer with one fenced code block and nothing else.",
        description="The chat template's system message; empty: none.",
    )
    output_dir: str = Field("runs", description="Each run gets a folder of its name in it.")
    save_every_steps: PositiveInt = Field(10, description="Steps between checkpoints; --resume continues from one.")
    save_total_limit: PositiveInt = Field(2, description="Number of newest checkpoints to keep.")
    trackers: list[str] = Field(
        ["tensorboard"], description="Where metrics are sent, by Accelerate's names: wandb, mlflow, ..."
    )

    @property
    def generates_elsewhere(self) -> bool:
        """Whether a server draws the samples, this run's own or another: by other arithmetic than the trainer's."""
        return self.generation == "vllm" or self.generation_url is not None

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if self.generation == "vllm" and self.generation_url is not None:
            raise ValueError("generation vllm starts a server of its own: set generation_url to null")
        return self

    @field_validator("chat_template_kwargs")
    @classmethod
    def _leave_the_trainers_own(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if taken := _TEMPLATE_ARGUMENTS & kwargs.keys():
            raise ValueError(f"{min(taken)} is set by the trainer: name only variables of the model's chat template")
        return kwargs


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
    use_advantage_normalization: bool = Field(True, description="Group baseline and whitening; false: the raw reward.")
    objective: ObjectiveName = Field(
        "reinforce", description="Sets the keys below that are null: docs/trainer.md has its value of each."
    )
    advantage_baseline: Literal["mean", "leave_one_out"] = Field(
        "mean", description="Mean over the group's scored samples: all of them, or all others (leave_one_out)."
    )
    whiten_advantages: bool = Field(True, description="Divide by a standard deviation; false: baseline only.")
    whiten_over: Literal["batch", "group"] = Field(
        "batch", description="The standard deviation over the batch, or in each group."
    )
    loss: Literal["reinforce", "ppo_clip"] = Field("reinforce", description="The policy term: reinforce or ppo_clip.")
    clip_range: Positive = Field(0.2, description="ppo_clip: how far the ratio to the sampling policy may be below 1.")
    clip_range_high: Positive = Field(
        0.2, description="ppo_clip: how far it may be above 1; where the objective has none, clip_range."
    )
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token", description="A ratio per token, or per sample the geometric mean of its tokens' (sequence)."
    )
    importance_sampling_cap: Positive = Field(
        2.0, description="reinforce on samples of an earlier policy, or of a generation server: maximum weight."
    )
    loss_agg_mode: Literal["token", "sequence", "sequence_sum", "constant"] = Field(
        "token",
        description="Mean over tokens, or over samples: of their mean (sequence), sum (sequence_sum), or sum over "
        "max_new_tokens (constant).",
    )
    mask_truncated: bool = Field(
        False, description="Samples cut off at max_new_tokens leave the loss, not the baseline."
    )
    use_frozen_reference_for_kl: bool = Field(True, description="KL term to the frozen base; false: no KL term.")
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = Field(
        "k3", description="k1, k2, k3, or exact; k1 only with kl_in: reward (its gradient in the loss is 0 on average)."
    )
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="A term of the loss, or subtracted from each sample's reward, summed over its tokens."
    )
    entropy_coef: NonNegative = Field(0.0, description="Coefficient of the entropy bonus; 0: none.")
    updates_per_batch: PositiveInt = Field(1, description="Optimizer steps on each batch, over all its epochs.")
    epochs_per_batch: PositiveInt = Field(
        1, description="Passes over each batch, updates_per_batch / epochs_per_batch parts (minibatches) in each."
    )
    max_staleness: Annotated[int, Field(ge=0, le=1)] = Field(
        0, description="Batches a sample may be behind: 1 generates the next batch while the last one's marks arrive."
    )
    kl_reference: Literal["adapter_off", "copy"] = Field(
        "adapter_off", description="The model without its adapter, or a second copy of it in memory (copy)."
    )
    kl_penalty: NonNegative = Field(0.1, description="Coefficient of the KL term.")
    adaptive_kl_enabled: bool = Field(False, description="Steer kl_penalty so that the KL stays near target_kl.")
    target_kl: Positive = Field(0.075, description="Nats per token.")
    kl_gain: Positive = Field(0.1, description="The coefficient changes by at most a fifth of this fraction per step.")
    use_tests: bool = Field(True, description="Run the tests of samples that have any; false: ignore them.")
    tests_policy: Literal["gate", "advise", "only"] = Field(
        "gate", description="gate: a failed test decides; advise: tests set correctness; only: no teacher."
    )
    use_tiered_scoring: bool = Field(
        True, description="The heuristic tier rejects broken code before it costs anything."
    )
    heuristic_score_threshold: Share = Field(0.3, description="Heuristic scores strictly below it are final.")
    heuristic_audit_rate: Share = Field(
        0.0, description="Fraction of rejected samples also sent to the teacher, to check the tier; paid for."
    )
    tests_audit_rate: Share = Field(
        0.0,
        description="Fraction of samples that failed a test also sent to the teacher, to check the teacher; paid for.",
    )
    truncate_prompt_for_scoring: bool = Field(
        True, description="Send the teacher only prompt_context_chars of the task."
    )
    prompt_context_chars: PositiveInt = Field(200, description="Characters of the task sent to the teacher.")
    prompt_context_policy: Literal["head", "head_tail"] = Field(
        "head", description="Its start, or its start and its end in equal parts (head_tail)."
    )
    move_rubric_to_system_prompt: bool = Field(
        True, description="Rubric as system prompt, where the provider can cache it."
    )
    scoring_url: Address = Field("http://127.0.0.1:8000", description="Address of the scoring service.")
    run: str | None = Field(None, description="Run id at the service; null: made from the time and the seed.")
    service_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for an unavailable service before giving up."
    )
    request_timeout_s: Positive = Field(180.0, description="Maximum seconds per request for marks.")
    max_unscored_fraction: Share = Field(
        0.5, description="Unscored fraction above which to pause and retry (for service_wait_s); 1: never."
    )
    reward_hacking_action: Literal["warn", "stop"] = Field(
        "warn", description="When a limit below is exceeded, once each: warn, or save and end the run (stop)."
    )
    reward_hacking_window: PositiveInt = Field(10, description="Steps whose mean is compared with each limit.")
    max_length_correlation: Share | None = Field(
        0.5, description="Correlation of judged marks with length, + or -; null: no limit."
    )
    max_identical_fraction: Share | None = Field(0.5, description="Of samples that equal another; null: no limit.")
    max_ceiling_fraction: Share | None = Field(0.9, description="Of marks of 0.95 or more; null: no limit.")
    max_memorized_fraction: Share | None = Field(
        0.1, description="Of samples that contain a table of their tests' inputs and results; null: no limit."
    )
    max_kl: Positive | None = Field(0.5, description="Nats per token; null: no limit.")
    min_teacher_agreement: Share | None = Field(
        0.6, description="Of the teacher with tests, chance is 0.5; the service checks it as well; null: no limit."
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
