"""The KL by hand: estimators, their bias, the adaptive coefficient."""

from __future__ import annotations

import math

import pytest
import torch

from markbook.trainer.objective.kl import estimate, kl_term, update_kl_coef

P, Q = (
    torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64),
    torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
)
TRUE = float((P * (P / Q).log()).sum())


@pytest.mark.parametrize(
    ("estimator", "value", "slope"),
    # log r = reference - policy = -0.5
    [("k1", 0.5, 1.0), ("k2", 0.125, 0.5), ("k3", math.exp(-0.5) + 0.5 - 1, 1 - math.exp(-0.5))],
)
def test_an_estimator_and_its_slope(estimator, value, slope):
    log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    found = estimate(log_probs, torch.tensor([-1.5, -2.0]), estimator)
    assert found[0].item() == pytest.approx(value)
    kl_term(found, torch.tensor([1.0, 1.0]), 2).backward()
    assert log_probs.grad[0].item() == pytest.approx(slope / 2)
    assert log_probs.grad[1].item() == pytest.approx(0.5 if estimator == "k1" else 0.0)


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    means = {
        kind: float((P * estimate(P.log(), Q.log(), kind)).sum()) for kind in ("k1", "k2", "k3")
    }
    assert means["k1"] == pytest.approx(TRUE)
    assert means["k3"] == pytest.approx(TRUE)
    assert means["k2"] != pytest.approx(TRUE, rel=1e-3)


def test_in_the_loss_k2_pulls_like_the_kl_and_k1_not_at_all():
    logits = P.log().requires_grad_()
    log_p = logits.log_softmax(-1)
    (true,) = torch.autograd.grad(
        (log_p.exp() * (log_p - Q.log())).sum(), logits, retain_graph=True
    )
    for kind, expected in (("k1", torch.zeros_like(true)), ("k2", true)):
        on_average = (
            P * estimate(log_p, Q.log(), kind)
        ).sum()  # samples are drawn, so P carries no gradient
        (found,) = torch.autograd.grad(on_average, logits, retain_graph=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_term_is_a_weighted_mean():
    assert kl_term(
        torch.tensor([0.2, 0.4, 0.9]), torch.tensor([0.5, 0.5, 1.0]), 2
    ).item() == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (0.075, 1.0),
        (0.0825, 1.01),  # a tenth above: times 1 + 0.1 x 0.1
        (0.0675, 0.99),
        (0.09, 1.02),  # a fifth above: the last that is not cut off
        (7.5, 1.02),
        (0.0, 0.98),
        (-1.0, 0.98),  # k1 may be negative
    ],
)
def test_the_coefficient_follows_the_kl_in_small_steps(kl, factor):
    assert update_kl_coef(0.1, kl, target=0.075, gain=0.1) == pytest.approx(0.1 * factor)
