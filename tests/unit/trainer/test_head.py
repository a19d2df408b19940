"""The head's log-probabilities and their gradient against plain torch, and what it keeps."""

from __future__ import annotations

import pytest
import torch

from markbook.trainer.model.fused_logprobs import chosen_log_probs, exact_kl
from tests.tolerance import float32_error

WEIGHT = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
BIAS = torch.randn(50, generator=torch.Generator().manual_seed(1))
STATES = torch.randn(7, 8, generator=torch.Generator().manual_seed(2))
IDS = torch.tensor([0, 49, 3, 3, 17, 25, 8])
SLOPES = torch.linspace(-1, 2, 7)
ERROR = float32_error(50 + 8)
"""Sums over the vocabulary of sums over a state."""


@pytest.mark.parametrize("bias", [None, BIAS], ids=["plain", "bias"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_values_and_gradient(monkeypatch, bias, chunk):
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", chunk)
    ours, plain = STATES.clone().requires_grad_(), STATES.double().requires_grad_()
    found = chosen_log_probs(ours, IDS, WEIGHT, bias, 0.7)
    logits = plain @ WEIGHT.double().t() + (0 if bias is None else bias.double())
    expected = (logits / 0.7).log_softmax(-1)[torch.arange(7), IDS]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=8 * float32_error(58))
    (found * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    assert (ours.grad.double() - plain.grad).norm() / plain.grad.norm() < ERROR


@pytest.mark.parametrize("bias", [None, BIAS], ids=["plain", "bias"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_exact_kl_and_its_gradient(monkeypatch, bias, chunk):
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", chunk)
    reference = STATES.flip(0) / 2
    ours, plain = STATES.clone().requires_grad_(), STATES.double().requires_grad_()
    found = exact_kl(ours, reference, WEIGHT, bias, 0.7)
    added = 0 if bias is None else bias.double()
    p, q = ((s @ WEIGHT.double().t() + added).div(0.7).log_softmax(-1) for s in (plain, reference.double()))
    expected = (p.exp() * (p - q)).sum(-1)
    torch.testing.assert_close(found.double(), expected, rtol=float32_error(58), atol=float32_error(58))
    (found * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    assert (ours.grad.double() - plain.grad).norm() / plain.grad.norm() < ERROR
    assert exact_kl(STATES, STATES, WEIGHT, bias, 0.7).abs().max() < float32_error(58)


@pytest.mark.parametrize(
    "compute",
    [
        lambda states: chosen_log_probs(states, IDS, WEIGHT, None, 1.0),
        lambda states: exact_kl(states, STATES.flip(0), WEIGHT, None, 1.0),
    ],
    ids=["chosen", "kl"],
)
def test_nothing_as_wide_as_the_vocabulary_is_kept(compute):
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(tuple(t.shape)) or t, lambda t: t):
        compute(STATES.clone().requires_grad_())
    assert kept
    assert all(50 not in shape for shape in kept)
