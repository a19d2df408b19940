"""The frozen reference: both kinds say the same, nothing moves the base, a copy that does not
fit gives way.
"""

from __future__ import annotations

import pytest
import torch

from markbook.config.settings import Config
from markbook.trainer.gradients import Experience
from markbook.trainer.learner import Learner
from markbook.trainer.model.loading import load_student
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off, base_checksum, load_reference
from tests.tiny import move_adapter, save_tiny_student
from tests.tolerance import LOG_PROBS
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES, TEMPERATURE


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    save_tiny_student(folder)
    return folder


def config(student, **rlaif):
    training = {"model": str(student), "lora_r": 4, "device": "cpu", "learning_rate": 0.01}
    return Config.model_validate(
        {"training": training, "rlaif": {"generation_temperature": TEMPERATURE} | rlaif}
    )


def moved_policy(settings):
    policy = Policy(*load_student(settings.training))
    move_adapter(policy)
    return policy


def learn(policy, reference, settings):
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    return Learner(policy, reference, settings).step(experiences)


def test_both_kinds_say_the_same_and_nothing_moves_the_base(student):
    settings = config(student, kl_reference="copy")
    policy, said = moved_policy(settings), []
    copy, off = load_reference(policy, settings, said.append), adapter_off(policy)
    assert said == []
    before, memory = base_checksum(policy), copy.log_probs(SAMPLES, TEMPERATURE)
    torch.testing.assert_close(memory, off.log_probs(SAMPLES, TEMPERATURE), rtol=0, atol=LOG_PROBS)
    torch.testing.assert_close(copy.states(SAMPLES), off.states(SAMPLES), rtol=0, atol=LOG_PROBS)
    assert (
        memory - policy.log_probs(SAMPLES, TEMPERATURE)
    ).abs().max() > 0.1  # the adapter does something

    assert learn(policy, copy, settings).kl == pytest.approx(
        learn(moved_policy(settings), off, settings).kl, rel=1e-5
    )
    assert base_checksum(policy) == before
    assert torch.equal(copy.log_probs(SAMPLES, TEMPERATURE), memory)
    assert not memory.requires_grad


def test_the_checksum_sees_one_moved_weight(student):
    policy = moved_policy(config(student))
    before = base_checksum(policy)
    move_adapter(policy, seed=2)
    assert base_checksum(policy) == before
    weight = policy.model.get_base_model().get_output_embeddings().weight
    with torch.no_grad():
        weight[7, 3] += 1e-6
    assert base_checksum(policy) != before


def test_a_copy_is_frozen_and_has_no_dropout(student):
    settings = config(student, kl_reference="copy")
    copy = load_reference(moved_policy(settings), settings, print)
    model = copy._model._causal_lm
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_copy_that_does_not_fit_gives_way_with_one_line(student, monkeypatch):
    settings = config(student, kl_reference="copy")
    policy, said = moved_policy(settings), []
    needed = sum(
        p.numel() * p.element_size() for p in policy.model.parameters() if not p.requires_grad
    )
    monkeypatch.setattr("markbook.trainer.model.reference.free_bytes", lambda _: needed - 1)
    reference = load_reference(policy, settings, said.append)
    [line] = said
    assert "kl_reference: copy does not fit" in line
    assert "adapter_off" in line
    expected = adapter_off(policy).log_probs(SAMPLES, TEMPERATURE)
    assert torch.equal(reference.log_probs(SAMPLES, TEMPERATURE), expected)
    assert reference._model is policy
    monkeypatch.setattr("markbook.trainer.model.reference.free_bytes", lambda _: needed)
    assert load_reference(policy, settings, said.append)._model is not policy


def test_without_a_reference_there_is_no_kl_and_that_is_said_once(student):
    settings, said = (
        config(student, use_frozen_reference_for_kl=False, adaptive_kl_enabled=True),
        [],
    )
    policy = moved_policy(settings)
    assert load_reference(policy, settings, said.append) is None
    assert said == ["no KL term: rlaif.use_frozen_reference_for_kl is false"]
    result = learn(policy, None, settings)
    assert (result.kl, result.kl_penalty) == (None, 0.1)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("constant", [0, 0.5, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 0.75, 0.5]),
        ("cosine", [0, 0.5, 1, (1 + 0.5**0.5) / 2, 0.5]),
    ],
)
def test_the_step_size_rises_in_the_warm_up_and_falls_as_asked(student, kind, shares):
    settings = config(student)
    training = {"lr_scheduler_type": kind, "warmup_steps": 2, "max_steps": 6}
    settings = settings.model_copy(
        update={"training": settings.training.model_copy(update=training)}
    )
    policy = moved_policy(settings)
    experiences = [Experience(SAMPLES[0], 1.0, True)]
    learner = Learner(policy, None, settings)
    assert [learner.step(experiences).learning_rate for _ in shares] == pytest.approx(
        [0.01 * share for share in shares]
    )


def test_the_coefficient_adapts_from_one_step_to_the_next(student):
    settings = config(student, adaptive_kl_enabled=True, target_kl=1e-6)
    policy = moved_policy(settings)
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    learner = Learner(policy, adapter_off(policy), settings)
    coefficients = [learner.step(experiences).kl_penalty for _ in range(3)]
    assert coefficients == pytest.approx(
        [0.1, 0.102, 0.10404]
    )  # far above the target: + 2 % a step
