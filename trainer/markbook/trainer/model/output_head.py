"""The output head: what turns the decoder's last hidden states into logits, scaling and soft cap
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_FACTORS = ("logit_scale", "lm_head_multiplier")
"""Config keys whose value multiplies the logits: Cohere, Falcon-H1."""
_DIVISORS = ("logits_scaling",)
"""Config keys whose value divides them: Granite."""
_SOFT_CAP = "final_logit_softcapping"
"""Gemma 2, 3, 3n and 4."""


@dataclass(frozen=True, slots=True)
class LogitTransform:
    """What a model does to `weight @ state + bias`: multiply by `scale`, then `softcap * tanh(x
    / softcap)` if set.
    """

    scale: float = 1.0
    softcap: float | None = None

    def apply(self, logits: Tensor) -> Tensor:
        """The model's logits, of any shape, in the dtype given."""
        scaled = logits * self.scale if self.scale != 1.0 else logits
        return scaled if self.softcap is None else self.softcap * torch.tanh(scaled / self.softcap)

    def slope(self, transformed: Tensor) -> Tensor | None:
        """d transformed / d logits at `transformed`, the result of `apply`; None where it is 1
        everywhere.

        tanh' = 1 - tanh^2, and tanh is `transformed / softcap`.
        """
        if self.softcap is None:
            return (
                None if self.scale == 1.0 else torch.full((), self.scale, device=transformed.device)
            )
        return (1 - (transformed / self.softcap).square()) * self.scale


PLAIN = LogitTransform()


@dataclass(frozen=True, slots=True)
class OutputHead:
    """`weight` (V, H) and `bias` (V,), both frozen, and what the model does to their product."""

    weight: Tensor
    bias: Tensor | None = None
    transform: LogitTransform = PLAIN

    def transposed_logits(self, hidden_states: Tensor) -> Tensor:
        """(N, H) -> (V, N) in float32: tokens first, for so tall a matrix a fifth faster on a
        CPU.
        """
        logits = self.weight @ hidden_states.t()
        if self.bias is not None:
            logits += self.bias[:, None]
        return self.transform.apply(logits.float())


def read_transform(config: Any) -> LogitTransform:
    """The transform that a model's config describes.

    Whether the model applies it is for a probe to find out.
    """
    scale = 1.0
    for name in _FACTORS:
        scale *= getattr(config, name, None) or 1.0
    for name in _DIVISORS:
        scale /= getattr(config, name, None) or 1.0
    return LogitTransform(scale, getattr(config, _SOFT_CAP, None))
