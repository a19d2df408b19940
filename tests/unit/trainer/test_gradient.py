"""One step's whole gradient against a slow, plain reference in float64, for each option of the
objective.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from markbook.config.settings import Config
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.sample_stats import sample_kl
from tests.tiny import tiny_policy
from tests.tolerance import TINY_MODEL
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES, TEMPERATURE, float64_model

KL_PENALTY = 0.3
CLIP_RANGE, CAP = 0.2, 1.3
# how far the policy has moved since a token was sampled: ratios inside the clip and outside it,
# both ways
MOVED = [0.05, 0.5, -0.5, -0.1, 0.4, -0.3, 0.1]
ESTIMATORS = ["k1", "k2", "k3", "exact"]


def tables(model, one):
    """(T, V) log-probabilities at the places of one sample's tokens: no padding, no cache."""
    ids = torch.tensor([[*one.task.token_ids, *one.ids]])
    start = len(one.task.token_ids)
    return (model(input_ids=ids).logits[0] / TEMPERATURE)[start - 1 : -1].log_softmax(-1)


class Plain:
    """What the policy and its base say in float64, with the graph kept for all options."""

    def __init__(self, policy=None):
        self.policy = policy or tiny_policy()
        self.model = float64_model(self.policy, adapter=True)
        base = float64_model(self.policy, adapter=False)
        self.now = [tables(self.model, one) for one in SAMPLES]
        with torch.no_grad():
            self.reference = [tables(base, one) for one in SAMPLES]
        offsets = iter(MOVED * 10)
        self.samples = [
            replace(
                one,
                log_probs=tuple(
                    value - next(offsets) for value in self.chosen(self.now, place).tolist()
                ),
            )
            for place, one in enumerate(SAMPLES)
        ]

    def chosen(self, all_tables, place):
        return all_tables[place].gather(-1, torch.tensor(SAMPLES[place].ids)[:, None])[:, 0]

    def kl(self, place, estimator):
        """(T,) nats."""
        if estimator == "exact":
            return (self.now[place].exp() * (self.now[place] - self.reference[place])).sum(-1)
        log_r = self.chosen(self.reference, place) - self.chosen(self.now, place)
        return {"k1": -log_r, "k2": log_r**2 / 2, "k3": log_r.exp() - log_r - 1}[estimator]

    def ratio(self, place):
        """(T,) probability now over that when drawn."""
        return (
            self.chosen(self.now, place)
            - torch.tensor(self.samples[place].log_probs, dtype=torch.float64)
        ).exp()

    def importance(self, place, stale):
        """(T,) what a token stands for."""
        return self.ratio(place).detach().clamp(max=CAP) if stale else 1.0

    def gain(self, place, loss, stale):
        """(T,) what the policy term wants more of."""
        advantage, log_probs = ADVANTAGES[place], self.chosen(self.now, place)
        if loss == "reinforce":
            return self.importance(place, stale) * advantage * log_probs
        ratio = self.ratio(place)
        bound = (1 + CLIP_RANGE) if advantage > 0 else (1 - CLIP_RANGE)
        has_gone_too_far = ratio > bound if advantage > 0 else ratio < bound
        return torch.where(has_gone_too_far, bound * advantage, ratio * advantage)

    def gradient(self, loss, mean, estimator, stale=False):
        """`estimator` None: no KL in the loss."""
        spoken = [place for place, value in enumerate(ADVANTAGES) if value != 0.0]
        mean_of = token_mean if mean == "token" else sequence_mean
        total = -mean_of([self.gain(place, loss, stale) for place in spoken])
        if estimator:
            total = total + KL_PENALTY * mean_of(
                [
                    self.importance(place, stale) * self.kl(place, estimator)
                    for place in range(len(SAMPLES))
                ]
            )
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return torch.cat(
            [part.flatten() for part in torch.autograd.grad(total, weights, retain_graph=True)]
        )


def token_mean(parts):
    return torch.cat(parts).mean()


def sequence_mean(parts):
    return torch.stack([part.mean() for part in parts]).mean()


@pytest.fixture(scope="module")
def plain():
    return Plain()


def config(**rlaif):
    rlaif = {
        "generation_temperature": TEMPERATURE,
        "clip_range": CLIP_RANGE,
        "importance_sampling_cap": CAP,
    } | rlaif
    return Config.model_validate({"training": {"micro_batch_size": 2}, "rlaif": rlaif})


def ours(plain, options, stale=False):
    plain.policy.model.zero_grad(set_to_none=True)
    plain.policy.updates = 1 if stale else 0
    experiences = [
        Experience(one, value, value != 0.0)
        for one, value in zip(plain.samples, ADVANTAGES, strict=True)
    ]
    done = accumulate(plain.policy, adapter_off(plain.policy), experiences, options, KL_PENALTY)
    return torch.cat(
        [parameter.grad.flatten() for parameter in plain.policy.trainable]
    ).double(), done


@pytest.mark.parametrize(
    ("loss", "mean", "estimator"),
    list(product(["reinforce", "ppo_clip"], ["token", "sequence"], ESTIMATORS)),
)
def test_with_the_kl_in_the_loss(plain, loss, mean, estimator):
    expected = plain.gradient(loss, mean, estimator)
    found, done = ours(plain, config(loss=loss, loss_agg_mode=mean, kl_estimator=estimator))
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < TINY_MODEL
    nats = (token_mean if mean == "token" else sequence_mean)(
        [plain.kl(i, estimator) for i in range(len(SAMPLES))]
    )
    assert done.kl == pytest.approx(nats.item(), rel=1e-4)
    assert (done.clip_fraction is None) == (loss == "reinforce")
    assert done.clip_fraction is None or 0 < done.clip_fraction < 1


@pytest.mark.parametrize(
    ("loss", "mean"), list(product(["reinforce", "ppo_clip"], ["token", "sequence"]))
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_samples_of_an_earlier_policy(plain, loss, mean, estimator):
    expected = plain.gradient(loss, mean, estimator, stale=True)
    fresh = plain.gradient(loss, mean, estimator)
    found, done = ours(
        plain, config(loss=loss, loss_agg_mode=mean, kl_estimator=estimator), stale=True
    )
    assert (fresh - expected).norm() / expected.norm() > 0.01  # the weights say something
    assert (found - expected).norm() / expected.norm() < TINY_MODEL
    assert 0 < done.clip_fraction < 1


@pytest.mark.parametrize(
    ("loss", "mean"), list(product(["reinforce", "ppo_clip"], ["token", "sequence"]))
)
def test_with_the_kl_in_the_reward_the_loss_has_no_term_of_it(plain, loss, mean):
    expected = plain.gradient(loss, mean, None)
    found, done = ours(plain, config(loss=loss, loss_agg_mode=mean, kl_in="reward"))
    assert (found - expected).norm() / expected.norm() < TINY_MODEL
    assert done.kl is None


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_kl_of_the_reward_is_summed_over_each_samples_tokens(plain, estimator):
    found = sample_kl(
        plain.policy, adapter_off(plain.policy), plain.samples, config(kl_estimator=estimator)
    )
    expected = [plain.kl(place, estimator).sum().item() for place in range(len(SAMPLES))]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
