"""The section `training`: the student, its adapter, its optimizer, and where samples are
generated.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from markbook.config.settings.section import (
    Address,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
)

_TEMPLATE_ARGUMENTS = frozenset(
    {"add_generation_prompt", "conversation", "return_dict", "tokenize"}
)
"""Arguments of `apply_chat_template` that the trainer passes itself."""


class Training(Section):
    """The student, its adapter and its optimizer."""

    model: str = Field(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        description="Hugging Face id, a folder, or bundled:smollm2-135m.",
    )
    learning_rate: Positive = Field(1e-4, description="AdamW step size.")
    weight_decay: NonNegative = Field(
        0.0, description="AdamW decay; adapters are small, so none by default."
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="How the step size falls from its peak to 0 at max_steps (linear, cosine); "
        "counted in updates.",
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Updates over which the step size rises from 0."
    )
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
    micro_batch_size: PositiveInt = Field(
        8, description="Samples per forward pass; changes memory, not the result."
    )
    lora_r: PositiveInt = Field(16, description="Rank of the adapter.")
    lora_alpha: PositiveInt = Field(32, description="Adapter scale is lora_alpha / lora_r.")
    lora_dropout: Share = Field(
        0.0, description="0 keeps the sampling and the trained policy the same."
    )
    lora_target_modules: str | list[str] = Field(
        "all-linear", description="Module names, or all-linear."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto uses a GPU where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: bfloat16 on a GPU, float32 on a CPU; of the frozen weights: the adapter "
        "is float32.",
    )
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto",
        description="auto: FlashAttention where it is installed and fits, else the model's choice, "
        "mostly sdpa.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Recompute the layers in the backward pass: less memory, one more forward "
        "pass.",
    )
    load_in_4bit: bool = Field(
        False,
        description="Hold the frozen weights in 4 bits (NF4): a quarter of bfloat16's; requires "
        "bitsandbytes.",
    )
    generation: Literal["hf", "vllm"] = Field(
        "hf",
        description="hf: in the trainer, or by generation_url; vllm: by a vLLM server that the "
        "trainer runs itself.",
    )
    generation_url: Address | None = Field(
        None,
        description="A vLLM server that generates the samples, with the adapter of each step; "
        "null: generated here.",
    )
    generation_wait_s: NonNegative = Field(
        600.0, description="Seconds to wait for an unavailable generation server before giving up."
    )
    vllm_command: str = Field(
        "vllm", description="generation vllm: the command of vLLM, or its path in another venv."
    )
    vllm_args: list[str] = Field(
        [], description="generation vllm: further arguments of vllm serve."
    )
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3,
        description="generation vllm: fraction of the GPU's memory that it takes; the trainer "
        "needs the rest.",
    )
    vllm_enable_sleep_mode: bool = Field(
        True,
        description="generation vllm, on a GPU: free its memory between steps; takes that much of "
        "the host's.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Fixes task order, sampling and adapter initialisation."
    )
    tasks: str = Field(
        "demo/tasks/train.jsonl", description="JSONL of {prompt, language, tests} to train on."
    )
    task_sampling: Literal["uniform", "frontier"] = Field(
        "uniform",
        description="uniform: each once per epoch; frontier: more often those that both passed and "
        "failed.",
    )
    max_group_replacements: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Groups per step replaced by other tasks where all marks of a group are the "
        "same.",
    )
    eval_tasks: str | None = Field(
        "demo/tasks/eval.jsonl", description="Held-out JSONL, marked before and after; null: none."
    )
    eval_every_steps: PositiveInt | None = Field(
        None, description="Steps between evaluations; null: only before and after."
    )
    eval_samples_per_task: PositiveInt = Field(
        4, description="Samples per task in an evaluation, with fixed seeds."
    )
    system_prompt: str = Field(
        "You write code. Answer with one fenced code block and nothing else.",
        description="The chat template's system message; empty: none.",
    )
    output_dir: str = Field("runs", description="Each run gets a folder of its name in it.")
    save_every_steps: PositiveInt = Field(
        10, description="Steps between checkpoints; --resume continues from one."
    )
    save_total_limit: PositiveInt = Field(2, description="Number of newest checkpoints to keep.")
    trackers: list[str] = Field(
        ["tensorboard"],
        description="Where metrics are sent, by Accelerate's names: wandb, mlflow, ...",
    )

    @property
    def generates_elsewhere(self) -> bool:
        """Whether a server draws the samples, this run's own or another: by other arithmetic
        than the trainer's.
        """
        return self.generation == "vllm" or self.generation_url is not None

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if self.generation == "vllm" and self.generation_url is not None:
            raise ValueError(
                "generation vllm starts a server of its own: set generation_url to null"
            )
        return self

    @field_validator("chat_template_kwargs")
    @classmethod
    def _leave_the_trainers_own(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        if taken := _TEMPLATE_ARGUMENTS & kwargs.keys():
            raise ValueError(
                f"{min(taken)} is set by the trainer: name only variables of the model's chat "
                "template"
            )
        return kwargs
