"""Log-probabilities, entropy and KL straight from the decoder's states: no (N, V) tensor outlives
its chunk.

The gradient with respect to the states is worked out in the forward pass, while a chunk's
probabilities are there: one matrix product less than checkpointing, which would compute the logits
again. Source: the fused linear cross-entropy of Liger Kernel, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from markbook.trainer.model.output_head import OutputHead

CHUNK = 256
"""Tokens whose logits exist at one time: with 49,152 words, 50 MB of them."""


def chosen_log_probs(
    states: Tensor, token_ids: Tensor, head: OutputHead, temperature: float
) -> Tensor:
    """log softmax(logits / temperature)[token_ids], logits those of `head`.

    `states` (N, H), `token_ids` (N,). Returns (N,) float32, differentiable once, in `states` only.
    """
    chunks = zip(torch.split(states, CHUNK), torch.split(token_ids, CHUNK), strict=True)
    return torch.cat([_Chosen.apply(*chunk, head, temperature) for chunk in chunks])  # type: ignore[no-untyped-call]


def chosen_log_probs_and_entropy(
    states: Tensor, token_ids: Tensor, head: OutputHead, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    """`chosen_log_probs`, and the entropy of each token's distribution over the vocabulary: (N,)
    float32 both, nats.

    The entropy is differentiable with `entropy_gradient` only, which costs one more product with
    the head.
    """
    chunks = zip(torch.split(states, CHUNK), torch.split(token_ids, CHUNK), strict=True)
    parts = []
    for chunk in chunks:
        arguments = (*chunk, head, temperature, entropy_gradient)
        parts.append(_ChosenAndEntropy.apply(*arguments))  # type: ignore[no-untyped-call]
    return torch.cat([chosen for chosen, _ in parts]), torch.cat([entropy for _, entropy in parts])


def exact_kl(states: Tensor, reference: Tensor, head: OutputHead, temperature: float) -> Tensor:
    """KL(policy || reference) over the whole vocabulary, from the states of both (N, H) and the
    head they share.

    Returns (N,) float32, nats per token, differentiable once, in `states` only.
    """
    chunks = zip(torch.split(states, CHUNK), torch.split(reference, CHUNK), strict=True)
    return torch.cat([_ExactKl.apply(*chunk, head, temperature) for chunk in chunks])  # type: ignore[no-untyped-call]


class _Chosen(torch.autograd.Function):
    """d log p[chosen] / d logit = [is chosen] - p."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, token_ids: Tensor, head: OutputHead, temperature: float
    ) -> Tensor:
        raw = head.transposed_logits(states)
        slope = head.transform.slope(raw) if ctx.needs_input_grad[0] else None
        logits = raw / temperature
        del raw
        total = logits.logsumexp(0)
        chosen = logits.gather(0, token_ids[None])[0] - total
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(
                _chosen_slope(logits.sub_(total).exp_(), token_ids, head, slope, temperature)
            )
        return chosen

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grad[:, None]).to(slope.dtype), None, None, None


class _ChosenAndEntropy(torch.autograd.Function):
    """d entropy / d logit = -p (log p + entropy), beside the slope of _Chosen."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        token_ids: Tensor,
        head: OutputHead,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        raw = head.transposed_logits(states)
        slope = head.transform.slope(raw) if ctx.needs_input_grad[0] else None
        logits = raw / temperature
        del raw
        total = logits.logsumexp(0)
        chosen = logits.gather(0, token_ids[None])[0] - total
        log_p = logits.sub_(total)
        probabilities = log_p.exp()
        weighted = log_p.mul_(probabilities)
        entropy = -weighted.sum(0)
        slopes: list[Tensor] = []
        if ctx.needs_input_grad[0] and entropy_gradient:
            by_logit = weighted.addcmul_(probabilities, entropy[None]).neg_()
            if slope is not None:
                by_logit.mul_(slope)
            slopes.append(by_logit.to(head.weight.dtype).t() @ head.weight / temperature)
        if ctx.needs_input_grad[0]:
            slopes.append(_chosen_slope(probabilities, token_ids, head, slope, temperature))
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        ctx.save_for_backward(*slopes)
        return chosen, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad: Tensor, entropy_grad: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        *of_entropy, slope = ctx.saved_tensors
        total = slope * grad[:, None]
        if of_entropy:
            total = total + of_entropy[0] * entropy_grad[:, None]
        return total.to(slope.dtype), None, None, None, None


def _chosen_slope(
    probabilities: Tensor,
    token_ids: Tensor,
    head: OutputHead,
    slope: Tensor | None,
    temperature: float,
) -> Tensor:
    """(N, H) d log p[chosen] / d state, from the probabilities (V, N), which it overwrites."""
    weighted = head.weight[token_ids]
    if slope is not None:
        probabilities.mul_(slope)
        chosen_slope = slope if slope.ndim == 0 else slope.gather(0, token_ids[None])[0][:, None]
        weighted = weighted * chosen_slope.to(weighted.dtype)
    spread = probabilities.to(head.weight.dtype).t() @ head.weight
    return (weighted - spread) / temperature


class _ExactKl(torch.autograd.Function):
    """d KL / d logit = p (log p - log q - KL)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, reference: Tensor, head: OutputHead, temperature: float
    ) -> Tensor:
        raw = head.transposed_logits(states)
        slope = head.transform.slope(raw) if ctx.needs_input_grad[0] else None
        log_p = (raw / temperature).log_softmax(0)
        del raw
        log_ratio = log_p - (head.transposed_logits(reference) / temperature).log_softmax(0)
        probabilities = log_p.exp_()
        kl = (probabilities * log_ratio).sum(0)
        if ctx.needs_input_grad[0]:
            by_logit = probabilities.mul_(log_ratio.sub_(kl))
            if slope is not None:
                by_logit.mul_(slope)
            ctx.save_for_backward(by_logit.to(head.weight.dtype).t() @ head.weight / temperature)
        return kl

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * grad[:, None]).to(slope.dtype), None, None, None
