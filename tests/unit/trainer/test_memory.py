"""Options for memory: gradient checkpointing, bfloat16; and what is counted of them: padding,
lag, float noise.
"""

from __future__ import annotations

import gc

import pytest
import torch
import transformers

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.learner import Learner
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.run import FINISHED
from tests.tiny import tiny_model, tiny_policy
from tests.tolerance import TINY_MODEL
from tests.unit.trainer import test_gradient
from tests.unit.trainer.model.test_policy import (
    ADVANTAGES,
    SAMPLES,
    TEMPERATURE,
    float64_model,
    gradient,
)
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_gradient import KL_PENALTY, Plain, config
from tests.unit.trainer.test_run import adapter, by_hash, has_learned, lines

EXPERIENCES = [
    Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
]


def training(**more):
    return Training(lora_r=4, lora_alpha=8, **more)


def sliding_model():
    """Two kinds of layers, each with a cache of its own kind; the window is shorter than a
    prompt.
    """
    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=True, bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1, use_sliding_window=True, sliding_window=4, max_window_layers=1,
        )
    )  # fmt: skip


@pytest.mark.parametrize("model", [tiny_model, sliding_model])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_changes_no_gradient(model, dropout):
    found = []
    for on in (False, True):
        policy = tiny_policy(
            training(gradient_checkpointing=on, lora_dropout=dropout), model=model()
        )
        torch.manual_seed(7)
        found.append(gradient(policy, 2, KL_PENALTY))
        assert not any("forward" in vars(module) for module in policy.model.modules())
    assert found[0].norm() > 0.01
    assert (found[1] - found[0]).norm() / found[0].norm() < TINY_MODEL


@pytest.fixture(scope="module")
def plain():
    return Plain(tiny_policy(training(gradient_checkpointing=True)))


@pytest.mark.parametrize("loss", ["reinforce", "ppo_clip"])
@pytest.mark.parametrize("estimator", ["k3", "exact"])
def test_with_checkpointing_it_is_that_of_the_plain_float64_loss(plain, loss, estimator):
    expected = plain.gradient(loss, "token", estimator)
    found, _ = test_gradient.ours(plain, config(loss=loss, kl_estimator=estimator))
    assert (found - expected).norm() / expected.norm() < TINY_MODEL


def tensors():
    return [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]


def kept_bytes(policy):
    """What autograd holds for the backward pass of one forward pass."""
    kept = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t),
        policy.learning(),
    ):
        policy.states(SAMPLES)
    return sum(kept)


def test_checkpointing_keeps_less_and_of_the_caches_only_the_prompts():
    policy = tiny_policy(training(gradient_checkpointing=True))
    assert kept_bytes(policy) < kept_bytes(tiny_policy()) / 5
    before = {id(one) for one in tensors()}
    with policy.learning():
        states = policy.states(SAMPLES)
    caches = [one for one in tensors() if id(one) not in before]
    longest_prompt = max(len(one.task.token_ids) for one in SAMPLES)
    assert {cache.shape[2] for cache in caches if cache.dim() == 4 and cache.requires_grad} == {
        longest_prompt
    }
    assert states.requires_grad


def test_a_model_that_cannot_be_checkpointed_is_refused(monkeypatch):
    monkeypatch.setattr("markbook.trainer.model.policy.find_layers", lambda _: [])
    with pytest.raises(
        ConfigError, match=r"training.gradient_checkpointing: a model of type llama has no layers"
    ):
        tiny_policy(training(gradient_checkpointing=True))


@pytest.mark.parametrize("on", [False, True])
def test_in_bfloat16_the_adapter_and_the_loss_are_float32(on):
    policy = tiny_policy(training(gradient_checkpointing=on), model=tiny_model(torch.bfloat16))
    assert {parameter.dtype for parameter in policy.trainable} == {torch.float32}
    assert policy.states(SAMPLES).dtype == torch.bfloat16
    assert policy.log_probs(SAMPLES, TEMPERATURE).dtype == torch.float32

    found = gradient(policy, 2, 0.0).double()
    assert {parameter.grad.dtype for parameter in policy.trainable} == {torch.float32}
    model = float64_model(policy, adapter=True)
    loss = torch.zeros((), dtype=torch.float64)
    tokens = sum(len(one.ids) for one, value in zip(SAMPLES, ADVANTAGES, strict=True) if value)
    for one, value in zip(SAMPLES, ADVANTAGES, strict=True):
        table = test_gradient.tables(model, one).gather(-1, torch.tensor(one.ids)[:, None])
        loss = loss - value * table.sum() / tokens
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    assert (
        found - expected
    ).norm() / expected.norm() < 0.03  # eight bits of a number are kept: 0.4 % an operation


def test_a_run_in_bfloat16_with_checkpointing_learns(run, tmp_path):
    with StubService(by_hash) as service:
        assert (
            run(service, {"dtype": "bfloat16", "gradient_checkpointing": True, "eval_tasks": None})
            == FINISHED
        )
    assert has_learned(tmp_path / "run")
    assert {tensor.dtype for tensor in adapter(tmp_path / "run").values()} == {torch.float32}
    second = lines(tmp_path / "run" / "metrics.jsonl")[1]
    assert second["kl"] > 1e-6
    assert second["log_prob_gap"] < 0.1


def test_a_run_with_checkpointing_is_the_run_without(run, tmp_path):
    found = []
    for on in (False, True):
        with StubService(by_hash) as service:
            assert run(service, {"gradient_checkpointing": on, "eval_tasks": None}) == FINISHED
        found.append(adapter(tmp_path / "run"))
        (tmp_path / "run").rename(tmp_path / f"run-{on}")
    assert all(
        torch.allclose(found[0][name], tensor, atol=1e-6) for name, tensor in found[1].items()
    )


@pytest.mark.parametrize(
    ("size", "share"),
    [
        # sorted by task and length: tokens to read after the prompt (2, 4) (0, 1) (7), prompts of
        # 7, 2 and 3; a row with nothing to read is not there
        (2, 2 / (7 + 8 + 2 + 1 + 3 + 7)),
        (5, (9 + 14) / (21 + 28)),
    ],
)
def test_padding_is_counted(size, share):
    policy = tiny_policy()
    settings = Config.model_validate({"training": {"micro_batch_size": size}})
    for _ in range(2):  # each step by itself
        assert Learner(policy, adapter_off(policy), settings).step(
            EXPERIENCES
        ).padding == pytest.approx(share)


def test_the_lag_and_what_comes_of_it_are_counted():
    policy = tiny_policy()
    now = policy.log_probs(SAMPLES, TEMPERATURE).split([len(one.ids) for one in SAMPLES])
    # as if each token had been a tenth of a nat less likely when it was drawn, one token of the
    # first sample half one
    moved = [[value - 0.1 for value in part.tolist()] for part in now]
    moved[0][2] -= 0.4
    samples = [
        type(one)(one.task, one.ids, "", False, tuple(part), updates=2)
        for one, part in zip(SAMPLES, moved, strict=True)
    ]
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(samples, ADVANTAGES, strict=True)
    ]
    done = accumulate(policy, adapter_off(policy), experiences, config(), KL_PENALTY)
    tokens = sum(len(one.ids) for one in SAMPLES)
    assert done.log_prob_gap == pytest.approx((0.1 * tokens + 0.4) / tokens, rel=1e-4)
    assert done.ratio_max == pytest.approx(2.718281828**0.5, rel=1e-4)

    policy.updates = 3
    learner = Learner(policy, adapter_off(policy), config())
    assert [learner.step(experiences).policy_lag for _ in range(2)] == [1, 2]
    assert learner.state()["updates"] == policy.updates == 5
