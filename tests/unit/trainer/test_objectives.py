"""Every objective's whole gradient against a slow, plain computation in float64, on fresh and on
stale samples.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch

from markbook.config.settings import Config
from markbook.config.settings.objectives import OBJECTIVES
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.learner import Learner
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.objective.minibatches import split_minibatches
from markbook.trainer.sample_stats import sample_log_probs
from tests.tiny import tiny_policy
from tests.tolerance import LOG_PROBS, TINY_MODEL
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES, TEMPERATURE
from tests.unit.trainer.test_gradient import KL_PENALTY, Plain

MAX_NEW_TOKENS = 16
ENTROPY_COEF = 0.2
# wider than GSPO's own, which all of these samples are beyond; one of four is
GSPO_CLIP = {"clip_range": 0.15, "clip_range_high": 0.04}
SPOKEN = [place for place, value in enumerate(ADVANTAGES) if value != 0.0]


@pytest.fixture(scope="module")
def plain():
    return Plain()


def config(name, training=None, **rlaif):
    training = {"micro_batch_size": 2, "max_new_tokens": MAX_NEW_TOKENS, **(training or {})}
    rlaif = {
        "objective": name,
        "generation_temperature": TEMPERATURE,
        "kl_penalty": KL_PENALTY,
    } | rlaif
    return Config.model_validate({"training": training, "rlaif": rlaif})


def ratio(plain, place, stale, by_sample=False):
    """(T,): each token's, or their geometric mean; 1 where a fresh sample has one ratio."""
    log_ratio = plain.ratio(place).log()
    if not by_sample:
        return log_ratio.exp()
    now = plain.chosen(plain.now, place)
    log_ratio = log_ratio if stale else now - now.detach()
    return log_ratio.mean().exp().expand(len(now))


def clipped(plain, place, low, high, stale, by_sample=False):
    """(T,) PPO's gain."""
    found, advantage = ratio(plain, place, stale, by_sample), ADVANTAGES[place]
    return torch.min(found * advantage, found.clamp(1 - low, 1 + high) * advantage)


def weighted(plain, place, cap, stale):
    """(T,) REINFORCE's gain, its weight without gradient."""
    weight = plain.ratio(place).detach().clamp(max=cap) if stale else 1.0
    return weight * ADVANTAGES[place] * plain.chosen(plain.now, place)


def kl(plain, place, cap, stale):
    return (plain.ratio(place).detach().clamp(max=cap) if stale else 1.0) * plain.kl(place, "k3")


def written_out(plain, name, stale):
    """The loss as its paper has it, sample by sample; a KL term where it has one in its loss."""
    everything = range(len(SAMPLES))
    if name == "reinforce":
        gain = torch.cat([weighted(plain, i, 2.0, stale) for i in SPOKEN]).mean()
        return -gain + KL_PENALTY * torch.cat([kl(plain, i, 2.0, stale) for i in everything]).mean()
    if name == "grpo":
        gain = torch.stack([clipped(plain, i, 0.2, 0.2, stale).mean() for i in SPOKEN]).mean()
        return (
            -gain
            + KL_PENALTY * torch.stack([kl(plain, i, 2.0, stale).mean() for i in everything]).mean()
        )
    if name == "dr_grpo":
        return -torch.stack(
            [clipped(plain, i, 0.2, 0.2, stale).sum() / MAX_NEW_TOKENS for i in SPOKEN]
        ).mean()
    if name == "dapo":
        return -torch.cat([clipped(plain, i, 0.2, 0.28, stale) for i in SPOKEN]).mean()
    if name == "gspo":
        return -torch.stack(
            [clipped(plain, i, 0.15, 0.04, stale, by_sample=True).mean() for i in SPOKEN]
        ).mean()
    if name == "cispo":
        return -torch.cat([weighted(plain, i, 5.0, stale) for i in SPOKEN]).mean()
    return -torch.stack([weighted(plain, i, 2.0, stale).sum() for i in SPOKEN]).mean()


def experiences_of(samples):
    return [
        Experience(one, value, value != 0.0) for one, value in zip(samples, ADVANTAGES, strict=True)
    ]


def ours(plain, options, stale):
    plain.policy.model.zero_grad(set_to_none=True)
    plain.policy.updates = 1 if stale else 0
    reference = adapter_off(plain.policy) if options.rlaif.use_frozen_reference_for_kl else None
    done = accumulate(plain.policy, reference, experiences_of(plain.samples), options, KL_PENALTY)
    return torch.cat(
        [parameter.grad.flatten() for parameter in plain.policy.trainable]
    ).double(), done


def gradient(plain, loss):
    weights = [parameter for parameter in plain.model.parameters() if parameter.requires_grad]
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, weights, retain_graph=True)]
    )


@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradient_are_the_written_out_ones(plain, name, stale):
    loss = written_out(plain, name, stale)
    expected = gradient(plain, loss)
    found, done = ours(plain, config(name, **(GSPO_CLIP if name == "gspo" else {})), stale)
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < TINY_MODEL
    assert done.loss == pytest.approx(loss.item(), rel=1e-4)
    if name == "gspo":
        assert done.clip_fraction == (
            pytest.approx(5 / 11) if stale else 0.0
        )  # the first sample's tokens


@pytest.mark.parametrize("mode", ["token", "sequence", "sequence_sum", "constant"])
def test_the_kl_that_is_logged_is_one_per_token(plain, mode):
    """And the KL term has the weights of the policy term."""
    nats = [plain.kl(place, "k3") for place in range(len(SAMPLES))]
    means = torch.stack([part.mean() for part in nats]).mean()
    _, done = ours(plain, config("reinforce", loss_agg_mode=mode), stale=False)
    assert done.kl == pytest.approx(
        (means if mode == "sequence" else torch.cat(nats).mean()).item(), rel=1e-4
    )


@pytest.mark.parametrize("with_kl", [False, True])
def test_the_entropy_bonus_is_a_mean_over_all_tokens(plain, with_kl):
    entropies = torch.cat([-(table.exp() * table).sum(-1) for table in plain.now])
    without = written_out(plain, "reinforce" if with_kl else "cispo", stale=False)
    expected = gradient(plain, without - ENTROPY_COEF * entropies.mean())
    found, done = ours(
        plain, config("reinforce" if with_kl else "cispo", entropy_coef=ENTROPY_COEF), stale=False
    )
    assert (gradient(plain, without) - expected).norm() / expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < TINY_MODEL
    assert done.entropy == pytest.approx(entropies.mean().item(), rel=1e-4)
    assert done.loss == pytest.approx((without - ENTROPY_COEF * entropies.mean()).item(), rel=1e-4)


def test_the_entropy_is_logged_also_without_a_bonus(plain):
    entropies = torch.cat(
        [-(plain.now[place].exp() * plain.now[place]).sum(-1) for place in SPOKEN]
    )
    _, done = ours(
        plain, config("cispo"), stale=False
    )  # without a KL only the policy term's samples are read
    assert done.entropy == pytest.approx(entropies.mean().item(), rel=1e-4)


def test_minibatches_hold_whole_groups_each_with_a_say():
    tasks = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    in_policy = [True, True, False, False, True, False, True, True, False, False]
    parts = split_minibatches(tasks, in_policy, 2, seed=0, stream=(0, 0))
    assert sorted(place for part in parts for place in part) == list(range(10))
    for part in parts:
        held = {tasks[place] for place in part}
        assert sorted(part) == [place for place, task in enumerate(tasks) if task in held]
        assert held & {0, 2, 3}
        assert len(held) in (2, 3)


def test_fewer_groups_with_a_say_make_fewer_minibatches():
    assert len(split_minibatches([0, 1, 2], [True, False, True], 3, 0, (0, 0))) == 2
    assert split_minibatches([5, 1, 5], [True, False, True], 4, 0, (0, 0)) == [[0, 1, 2]]


def test_minibatches_are_others_in_every_epoch_and_the_same_for_one_seed():
    tasks, all_in = list(range(8)), [True] * 8
    of = [split_minibatches(tasks, all_in, 4, 7, (0, epoch)) for epoch in range(6)]
    assert of[0] == split_minibatches(tasks, all_in, 4, 7, (0, 0))
    assert len({str(parts) for parts in of}) == 6


@pytest.mark.parametrize("name", ["grpo", "reinforce"])
def test_several_updates_are_single_ones_in_a_row_on_samples_that_have_gone_stale(name):
    """Two epochs of two minibatches, against one Learner that is given the minibatches one by
    one.
    """
    batch = experiences_of(SAMPLES)
    tasks, in_policy = [one.sample.task.index for one in batch], [one.in_policy for one in batch]
    policies = [tiny_policy(), tiny_policy()]
    together, single = (
        Learner(
            policy,
            adapter_off(policy),
            config(name, updates_per_batch=updates, epochs_per_batch=epochs),
        )
        for policy, updates, epochs in zip(policies, (4, 1), (2, 1), strict=True)
    )
    result = together.step(batch)
    results = []
    for epoch in range(2):
        for places in split_minibatches(tasks, in_policy, 2, 0, (0, epoch)):
            results.append(single.step([batch[place] for place in places]))
    for mine, theirs in zip(policies[0].trainable, policies[1].trainable, strict=True):
        assert torch.equal(mine, theirs)
    assert [one.policy_lag for one in results] == [0, 1, 2, 3]
    assert (result.updates, result.policy_lag) == (4, 1.5)
    assert result.loss == pytest.approx(statistics.fmean(one.loss for one in results))
    assert result.kl == pytest.approx(statistics.fmean(one.kl for one in results))
    assert result.ratio_max == max(one.ratio_max for one in results)
    assert (
        results[0].clip_fraction is None
        if name == "reinforce"
        else results[0].clip_fraction is not None
    )
    assert results[1].clip_fraction is not None
    assert policies[0].updates == 4


def test_the_step_size_falls_over_all_updates():
    policy = tiny_policy()
    schedule = {"lr_scheduler_type": "linear", "max_steps": 2, "learning_rate": 1e-3}
    learner = Learner(
        policy, None, config("dapo", schedule, updates_per_batch=2, epochs_per_batch=2)
    )
    found = [learner.step(experiences_of(SAMPLES)).learning_rate for _ in range(2)]
    assert found == pytest.approx([0.75e-3, 0.25e-3])  # the second of four updates, and the fourth


def test_the_coefficient_of_the_kl_changes_once_per_batch():
    options = {
        "updates_per_batch": 2,
        "epochs_per_batch": 2,
        "adaptive_kl_enabled": True,
        "target_kl": 1e-9,
    }
    policy = tiny_policy()
    learner = Learner(policy, adapter_off(policy), config("grpo", **options))
    assert learner.step(experiences_of(SAMPLES)).kl_penalty == KL_PENALTY
    assert learner.kl_penalty == pytest.approx(KL_PENALTY * 1.02)


def test_a_ratio_per_sample_is_against_the_learners_own_log_probabilities():
    """The sampler's, -1 for each token here, are nowhere near, as if its arithmetic were
    another.
    """
    policy = tiny_policy()
    # so small a step that no ratio leaves even the narrow clip
    options = config("gspo", {"learning_rate": 1e-9}, updates_per_batch=2, epochs_per_batch=2)
    result = Learner(policy, None, options).step(experiences_of(SAMPLES))
    assert result.updates == 2
    assert result.clip_fraction == 0.0
    assert result.log_prob_gap > 0.1  # the figure still compares with the sampler


def test_own_log_probabilities_come_back_in_the_order_of_the_samples():
    policy = tiny_policy()
    found = sample_log_probs(policy, SAMPLES, config("gspo"))
    for one, values in zip(SAMPLES, found, strict=True):
        expected = policy.log_probs([one], TEMPERATURE).tolist()
        assert values == pytest.approx(expected, abs=LOG_PROBS)


def test_stale_samples_keep_the_ratio_to_the_policy_that_drew_them():
    policy = tiny_policy()
    policy.updates = 3
    drawn = [replace(one, updates=2) for one in SAMPLES]
    options = config("gspo", {"learning_rate": 1e-9}, updates_per_batch=2, epochs_per_batch=2)
    assert Learner(policy, None, options).step(experiences_of(drawn)).clip_fraction > 0
