"""Tensors of token ids, lengths and numbers, on the device that computes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from markbook.config.loading import ConfigError


def to_device(
    values: Sequence[Any], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """`values`, numbers or nested sequences of them, as a tensor on `device`; the host does not
    wait for the copy.

    `torch.tensor(values, device="cuda")` waits until the GPU has done everything before it: a pause
    per call, in which no further kernels are launched. A copy from pinned memory is put in the
    GPU's queue instead; the memory is reused only after it. Source:
    https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html.
    """
    tensor = torch.tensor(values, dtype=dtype)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def out_of_memory(error: torch.OutOfMemoryError) -> ConfigError:
    """For a GPU that is full before training begins: no fault of the model's code, as another
    failure would be.
    """
    return ConfigError(
        "the GPU has too little free memory for training.model, or other programs use it "
        "(nvidia-smi lists them): set training.load_in_4bit, or choose a smaller training.model; "
        f"{' '.join(str(error).split())}"
    )
