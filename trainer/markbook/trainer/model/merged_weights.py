"""Sampling on a CPU at two thirds of the cost: the adapter folded into copies of the weights,
packed for few rows.

Decoding multiplies the same weights with a handful of rows, again and again. oneDNN's packed layout
is made for that; torch's inductor uses it the same way. The model's own weights are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

ROWS = 16
"""Rows the layout is chosen for; any number works."""


@contextmanager
def folded(model: nn.Module, head: Any) -> Iterator[None]:
    """Inside, `model` computes what it computed before, to float noise; no gradients.

    Does nothing where it would not be the same policy (not float32) or not faster (no CPU, no
    oneDNN).
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLinear)]
    if (
        not _has_onednn()
        or not all(_packable(layer.get_base_layer()) for layer in layers)
        or not _packable(head)
    ):
        yield
        return
    try:
        with torch.no_grad():
            for layer in layers:
                base, (adapter,) = layer.get_base_layer(), layer.active_adapters
                layer.forward = _packed(base.weight + layer.get_delta_weight(adapter), base.bias)
            head.forward = _packed(head.weight, head.bias)
        yield
    finally:
        for module in (*layers, head):
            vars(module).pop("forward", None)


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _packable(module: nn.Module) -> bool:
    return (
        type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
    )


def _packed(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)

    def forward(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return out

    return forward
