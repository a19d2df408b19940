"""Merging a run's adapter into its base model, and proof that what was written is the policy."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from markbook.config.loading import ConfigError, load_config
from markbook.trainer.checkpoint import checkpoints
from markbook.trainer.model.loading import load_student, resolve_device, resolve_dtype
from markbook.trainer.model.policy import Policy
from markbook.trainer.run_dir import check_writable

_PROBE = (
    "Write a function that reverses a list.\n```python\ndef reverse(items):\n    return "
    "items[::-1]\n```\n"
)
_NOISE = 1e-4
"""Of the largest logit, in float32."""


class AdapterMismatchError(Exception):
    """What was merged, or written, is not the policy."""


def export(
    run_dir: Path, out: Path, checkpoint: str | None = None, dtype: str | None = None
) -> str:
    """Write the merged model of a run to `out`, whole or not at all; returns what to say of it.

    Merged in float32 and rounded once, to `dtype` or else to that of the run; a base that was
    trained in 4 bits is taken as it was published. Raises ConfigError where something is missing or
    `out` is not empty, and AdapterMismatchError where the merged model does not compute what base
    and adapter do.
    """
    adapter = adapter_state(run_dir, checkpoint)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and not empty: name a new folder")
    training = load_config(run_dir / "config.yaml", old_names=True).training
    # a run's device need not be in this machine: its name shows what auto meant there
    device = resolve_device("auto") if training.device == "auto" else torch.device(training.device)
    rounded = dtype or str(resolve_dtype(training.dtype, device)).removeprefix("torch.")
    whole = out.absolute()  # "." has no name
    temporary = whole.with_name(f".{whole.name}.partial")
    check_writable(temporary)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        exact = {"device": "cpu", "dtype": "float32", "load_in_4bit": False}
        model, tokenizer = load_student(training.model_copy(update=exact))
        Policy(model, tokenizer).load_adapter(adapter)
        expected = _logits(model, tokenizer)
        merged: Any = model.merge_and_unload()
        gap = _compare(_logits(merged, tokenizer), expected, "merging the adapter")
        for (
            parameter
        ) in merged.parameters():  # not the buffers, as it will be loaded: positions need all bits
            parameter.data = parameter.data.to(getattr(torch, rounded))
        expected = _logits(merged, tokenizer)
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        del model, merged
        gc.collect()  # two models may not fit where one does
        written = transformers.AutoModelForCausalLM.from_pretrained(temporary, dtype="auto")
        reread = transformers.AutoTokenizer.from_pretrained(temporary)
        _compare(_logits(written, reread), expected, "writing it down")
        temporary.rename(whole)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return (
        f"{out}: {training.model} with {adapter} merged in, {rounded}\n"
        f"its logits are the policy's, to {gap:.1e} of the largest before rounding"
    )


def adapter_state(run_dir: Path, checkpoint: str | None) -> Path:
    """The folder of a run's adapter.

    Raises ConfigError, which names the checkpoints that are there, if it has none.
    """
    folder = run_dir / "checkpoints" / checkpoint if checkpoint else run_dir / "adapter"
    if not (folder / "adapter_model.safetensors").exists():
        there = ", ".join(path.name for path in checkpoints(run_dir)) or "none"
        raise ConfigError(f"there is no adapter in {folder}; checkpoints: {there}")
    return folder


def _logits(model: Any, tokenizer: Any) -> Tensor:
    """(T, V), float32."""
    with torch.inference_mode():
        logits: Tensor = model.eval()(
            input_ids=torch.tensor([tokenizer(_PROBE)["input_ids"]])
        ).logits[0]
    return logits.float()


def _compare(found: Tensor, expected: Tensor, after: str) -> float:
    """The largest difference over the largest logit; AdapterMismatchError is raised where it is
    no float noise.
    """
    gap = ((found - expected).abs().max() / expected.abs().max()).item()
    if not gap <= _NOISE:
        raise AdapterMismatchError(
            f"after {after} the logits are not the policy's: they differ by {gap:.2g} of the "
            "largest"
        )
    return gap
