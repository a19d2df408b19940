"""A base in 4 bits: the gradient is that of its dequantized weights, and everything around it
still holds.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch

from markbook.config.settings import Config
from markbook.trainer.gradients import Experience
from markbook.trainer.learner import Learner
from markbook.trainer.model.loading import load_student
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off, base_bytes, base_checksum, load_reference
from markbook.trainer.run import BAD_CONFIG, FINISHED
from tests.tiny import move_adapter, save_tiny_student, tiny_policy
from tests.tolerance import EXACT_ZERO_KL, LOG_PROBS, TINY_MODEL
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES, TEMPERATURE
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_gradient import Plain, config, ours
from tests.unit.trainer.test_run import by_hash, has_learned, lines

pytestmark = pytest.mark.long
bitsandbytes = pytest.importorskip("bitsandbytes", reason="make test-long installs bitsandbytes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    save_tiny_student(folder)
    return folder


def settings(folder, **training):
    training = {
        "model": str(folder),
        "lora_r": 4,
        "lora_alpha": 8,
        "device": "cpu",
        "load_in_4bit": True,
    } | training
    return Config.model_validate(
        {"training": training, "rlaif": {"generation_temperature": TEMPERATURE}}
    )


def quantized_policy(folder, **training):
    asked = settings(folder, **training).training
    policy = Policy(*load_student(asked), asked.gradient_checkpointing)
    move_adapter(policy)
    return policy


def dequantized(policy):
    """The same policy on ordinary weights."""
    plain = tiny_policy()
    weights = dict(plain.model.named_parameters())
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            state = getattr(weight, "quant_state", None)
            whole = bitsandbytes.functional.dequantize_4bit(weight.data, state) if state else weight
            weights[name].copy_(whole)
    return plain


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("loss", "estimator"), [("reinforce", "k3"), ("ppo_clip", "exact")])
def test_the_gradient_is_that_of_the_dequantized_weights_in_float64(
    folder, checkpointing, loss, estimator
):
    policy = quantized_policy(folder, gradient_checkpointing=checkpointing)
    plain = Plain(dequantized(policy))
    plain.policy = policy
    expected = plain.gradient(loss, "token", estimator)
    found, _ = ours(plain, config(loss=loss, kl_estimator=estimator))
    assert expected.norm() > 0.01
    assert (found - expected).norm() / expected.norm() < TINY_MODEL


def test_the_layers_are_in_4_bits_and_the_adapter_and_the_head_are_not(folder):
    policy, whole = quantized_policy(folder), quantized_policy(folder, load_in_4bit=False)
    kinds = {name: weight.dtype for name, weight in policy.model.named_parameters()}
    layers = [
        dtype for name, dtype in kinds.items() if ".layers." in name and ".base_layer." in name
    ]
    assert set(layers) == {torch.uint8}
    assert len(layers) == 3 * 7
    assert {weight.dtype for weight in policy.trainable} == {torch.float32}
    assert policy.model.get_base_model().get_output_embeddings().weight.dtype == torch.float32
    head = 258 * 32 * 4
    assert base_bytes(policy) - head < (base_bytes(whole) - head) / 7
    gap = (
        (policy.log_probs(SAMPLES, TEMPERATURE) - whole.log_probs(SAMPLES, TEMPERATURE))
        .abs()
        .mean()
    )
    assert 1e-3 < gap < 1  # it is another model, but not a very different one


def test_nothing_moves_the_base_and_a_moved_scale_is_seen(folder):
    policy, asked = quantized_policy(folder), settings(folder)
    before = base_checksum(policy)
    assert base_checksum(quantized_policy(folder)) == before
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    Learner(policy, adapter_off(policy), asked).step(experiences)
    assert base_checksum(policy) == before
    weight = next(weight for weight in policy.model.parameters() if hasattr(weight, "quant_state"))
    weight.quant_state.absmax[0] += 1
    assert base_checksum(policy) != before


def test_a_copy_as_reference_is_in_4_bits_too_and_says_the_same(folder):
    asked = settings(folder)
    asked = asked.model_copy(
        update={"rlaif": asked.rlaif.model_copy(update={"kl_reference": "copy"})}
    )
    policy = quantized_policy(folder)
    copy = load_reference(policy, asked, print).log_probs(SAMPLES, TEMPERATURE)
    torch.testing.assert_close(
        copy, adapter_off(policy).log_probs(SAMPLES, TEMPERATURE), rtol=0, atol=LOG_PROBS
    )


def test_no_layout_without_gradients_is_ever_taken(folder, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    layers = [
        module
        for module in quantized_policy(folder).model.modules()
        if "4bit" in type(module).__name__
    ]
    assert not any(getattr(layer, "support_avx512bf16_for_cpu", False) for layer in layers)


def test_a_whole_run(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, {"load_in_4bit": True}) == FINISHED
    assert has_learned(tmp_path / "run")
    first, second = (
        line for line in lines(tmp_path / "run" / "metrics.jsonl") if "skipped" in line
    )
    assert first["kl"] == pytest.approx(0, abs=EXACT_ZERO_KL)
    assert second["kl"] > 1e-6
    assert second["log_prob_gap"] < 1e-4


def test_without_the_library_it_says_what_to_install(run, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "bitsandbytes" else find(name),
    )
    with StubService(by_hash) as service:
        assert run(service, {"load_in_4bit": True}) == BAD_CONFIG
    assert (
        "training.load_in_4bit requires bitsandbytes: .venv/bin/pip install -e '.[quantized]'"
        in capsys.readouterr().err
    )
