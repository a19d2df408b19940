"""Log-probabilities and KL straight from the decoder's states: no (N, V) tensor outlives its chunk.

The gradient with respect to the states is worked out in the forward pass, while a chunk's probabilities are there:
one matrix product less than checkpointing, which would compute the logits again.
Source: the fused linear cross-entropy of Liger Kernel, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 256
"""Tokens whose logits exist at one time: with 49,152 words, 50 MB of them."""


def chosen_log_probs(states: Tensor, ids: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """log softmax((states @ weight.T + bias) / temperature)[ids].

    `states` (N, H), `ids` (N,), `weight` (V, H) and `bias` (V,) frozen. Returns (N,) float32, differentiable once, in
    `states` only.
    """
    chunks = zip(torch.split(states, CHUNK), torch.split(ids, CHUNK), strict=True)
    return torch.cat([_Chosen.apply(*chunk, weight, bias, temperature) for chunk in chunks])  # type: ignore[no-untyped-call]


def exact_kl(states: Tensor, reference: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """KL(policy || reference) over the whole vocabulary, from the states of both (N, H) and the head they share.

    Returns (N,) float32, nats a token, differentiable once, in `states` only.
    """
    chunks = zip(torch.split(states, CHUNK), torch.split(reference, CHUNK), strict=True)
    return torch.cat([_ExactKl.apply(*chunk, weight, bias, temperature) for chunk in chunks])  # type: ignore[no-untyped-call]


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, ids: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
    ) -> Tensor:
        logits = _logits(states, weight, bias, temperature)
        total = logits.logsumexp(0)
        chosen = logits.gather(0, ids[None])[0] - total
        if ctx.needs_input_grad[0]:
            probabilities = logits.sub_(total).exp_().to(weight.dtype)
            ctx.save_for_backward((weight[ids] - probabilities.t() @ weight) / temperature)
        return chosen

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grad[:, None]).to(slope.dtype), None, None, None, None


class _ExactKl(torch.autograd.Function):
    """d KL / d logit = p (log p - log q - KL)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, reference: Tensor, weight: Tensor, bias: Tensor | None, temperature: float
    ) -> Tensor:
        log_p = _logits(states, weight, bias, temperature).log_softmax(0)
        log_ratio = log_p - _logits(reference, weight, bias, temperature).log_softmax(0)
        probabilities = log_p.exp_()
        kl = (probabilities * log_ratio).sum(0)
        if ctx.needs_input_grad[0]:
            slope = probabilities.mul_(log_ratio.sub_(kl)).to(weight.dtype)
            ctx.save_for_backward(slope.t() @ weight / temperature)
        return kl

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grad[:, None]).to(slope.dtype), None, None, None, None


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """(V, N) in float32: words first, for so tall a matrix a fifth faster on a CPU than the other way round."""
    logits = weight @ states.t()
    if bias is not None:
        logits += bias[:, None]
    return logits.float() / temperature
