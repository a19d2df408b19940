"""The head's log-probabilities and their gradient against plain torch, and what it keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from markbook.trainer.model.fused_logprobs import (
    chosen_log_probs,
    chosen_log_probs_and_entropy,
    exact_kl,
)
from markbook.trainer.model.output_head import LogitTransform, OutputHead, read_transform
from tests.tolerance import float32_error

WEIGHT = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
BIAS = torch.randn(50, generator=torch.Generator().manual_seed(1))
STATES = torch.randn(7, 8, generator=torch.Generator().manual_seed(2))
IDS = torch.tensor([0, 49, 3, 3, 17, 25, 8])
SLOPES = torch.linspace(-1, 2, 7)
HEADS = {
    "plain": OutputHead(WEIGHT),
    "bias": OutputHead(WEIGHT, BIAS),
    "scaled": OutputHead(WEIGHT, BIAS, LogitTransform(scale=0.25)),
    "soft cap": OutputHead(WEIGHT, None, LogitTransform(softcap=3.0)),
    "scaled soft cap": OutputHead(WEIGHT, BIAS, LogitTransform(scale=0.5, softcap=2.0)),
}
each_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
ERROR = float32_error(50 + 8)
"""Sums over the vocabulary of sums over a state."""


def exact_logits(states: torch.Tensor, head: OutputHead) -> torch.Tensor:
    """(N, H) -> (N, V) in float64, as the models' own code writes it down."""
    logits = states @ head.weight.double().t() + (0 if head.bias is None else head.bias.double())
    scaled = logits * head.transform.scale
    cap = head.transform.softcap
    return scaled if cap is None else torch.tanh(scaled / cap) * cap


@each_head
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_values_and_gradient(monkeypatch, head, chunk):
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", chunk)
    ours, plain = STATES.clone().requires_grad_(), STATES.double().requires_grad_()
    found = chosen_log_probs(ours, IDS, head, 0.7)
    logits = exact_logits(plain, head)
    expected = (logits / 0.7).log_softmax(-1)[torch.arange(7), IDS]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=8 * float32_error(58))
    (found * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    assert (ours.grad.double() - plain.grad).norm() / plain.grad.norm() < ERROR


@each_head
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_entropy_and_its_gradient_beside_those_of_the_log_probs(
    monkeypatch, head, chunk, with_gradient
):
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", chunk)
    ours, plain = STATES.clone().requires_grad_(), STATES.double().requires_grad_()
    found, entropy = chosen_log_probs_and_entropy(ours, IDS, head, 0.7, with_gradient)
    assert torch.equal(found, chosen_log_probs(STATES, IDS, head, 0.7))
    log_p = (exact_logits(plain, head) / 0.7).log_softmax(-1)
    expected = -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close(entropy.double(), expected, rtol=0, atol=8 * float32_error(58))
    assert entropy.requires_grad == with_gradient
    both = (log_p[torch.arange(7), IDS] * SLOPES).sum() + with_gradient * (
        expected * SLOPES.flip(0)
    ).sum()
    ((found * SLOPES).sum() + (entropy * SLOPES.flip(0)).sum()).backward()
    both.backward()
    assert (ours.grad.double() - plain.grad).norm() / plain.grad.norm() < ERROR


@each_head
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_exact_kl_and_its_gradient(monkeypatch, head, chunk):
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", chunk)
    reference = STATES.flip(0) / 2
    ours, plain = STATES.clone().requires_grad_(), STATES.double().requires_grad_()
    found = exact_kl(ours, reference, head, 0.7)
    p, q = (exact_logits(s, head).div(0.7).log_softmax(-1) for s in (plain, reference.double()))
    expected = (p.exp() * (p - q)).sum(-1)
    torch.testing.assert_close(
        found.double(), expected, rtol=float32_error(58), atol=float32_error(58)
    )
    (found * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    assert (ours.grad.double() - plain.grad).norm() / plain.grad.norm() < ERROR
    assert exact_kl(STATES, STATES, head, 0.7).abs().max() < float32_error(58)


@pytest.mark.parametrize(
    "compute",
    [
        lambda states, head: chosen_log_probs(states, IDS, head, 1.0),
        lambda states, head: exact_kl(states, STATES.flip(0), head, 1.0),
        lambda states, head: chosen_log_probs_and_entropy(states, IDS, head, 1.0, True),
    ],
    ids=["chosen", "kl", "entropy"],
)
@each_head
def test_nothing_as_wide_as_the_vocabulary_is_kept(compute, head):
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(tuple(t.shape)) or t, lambda t: t
    ):
        compute(STATES.clone().requires_grad_(), head)
    assert kept
    assert all(50 not in shape for shape in kept)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, LogitTransform()),
        ({"logits_scaling": 8.0}, LogitTransform(scale=0.125)),
        ({"logit_scale": 0.0625}, LogitTransform(scale=0.0625)),
        ({"lm_head_multiplier": 0.5, "final_logit_softcapping": None}, LogitTransform(scale=0.5)),
        ({"final_logit_softcapping": 30.0}, LogitTransform(softcap=30.0)),
    ],
)
def test_the_transform_of_a_config(config, expected):
    assert read_transform(SimpleNamespace(**config)) == expected
