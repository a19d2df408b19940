"""Which attention kernels a student reads with, and in which precision its adapter is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from markbook.config.loading import ConfigError
from markbook.config.settings import Training
from markbook.trainer.model import loading
from markbook.trainer.model.policy import Policy
from tests.tiny import tiny_model, tiny_policy
from tests.tolerance import LOG_PROBS
from tests.unit.trainer.model.test_policy import SAMPLES, TEMPERATURE

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Model:
    """What transformers' models have: a choice of their own, and a way to set another."""

    def __init__(self, dtype=torch.bfloat16, has_flash=True, error=None, obeys=True):
        self.dtype, self._supports_flash_attn, self._error, self._obeys = (
            dtype,
            has_flash,
            error,
            obeys,
        )
        self.config = SimpleNamespace(_attn_implementation="sdpa", model_type="some")

    def set_attn_implementation(self, name):
        if self._error:
            raise self._error
        if self._obeys:
            self.config._attn_implementation = name


def chosen(model, name, device, monkeypatch, installed=True):
    monkeypatch.setattr(loading, "is_flash_attn_2_available", lambda: installed)
    loading._choose_attention(model, name, device)
    return model.config._attn_implementation


@pytest.mark.parametrize(
    ("model", "device", "installed", "expected"),
    [
        (Model(), CUDA, True, "flash_attention_2"),
        (Model(), CUDA, False, "sdpa"),
        (Model(), CPU, True, "sdpa"),
        (Model(torch.float32), CUDA, True, "sdpa"),
        (Model(has_flash=False), CUDA, True, "sdpa"),
    ],
)
def test_auto_takes_flash_attention_where_it_fits_and_else_the_models_choice(
    monkeypatch, model, device, installed, expected
):
    assert chosen(model, "auto", device, monkeypatch, installed) == expected


def test_a_named_one_is_taken_or_refused_in_one_line(monkeypatch):
    assert chosen(Model(), "eager", CPU, monkeypatch) == "eager"
    with pytest.raises(
        ConfigError, match=r"^training\.attn_implementation: sdpa cannot be used: not here\. Try$"
    ):
        chosen(Model(error=ValueError("not here.\nTry")), "sdpa", CPU, monkeypatch)
    with pytest.raises(ConfigError, match="a model of type some has only its own attention: auto"):
        chosen(Model(obeys=False), "eager", CPU, monkeypatch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have it")
def test_flash_attention_that_is_not_installed_is_refused_by_a_real_model(student):
    with pytest.raises(
        ConfigError, match=r"^training\.attn_implementation: flash_attention_2 cannot be used: .*"
    ):
        loading.load_base(
            Training(model=str(student), device="cpu", attn_implementation="flash_attention_2")
        )


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_log_probs_do_not_depend_on_it(student, name):
    found = []
    for choice in ("auto", name):
        training = Training(model=str(student), device="cpu", lora_r=4, attn_implementation=choice)
        model, tokenizer = loading.load_student(training)
        found.append(Policy(model, tokenizer).log_probs(SAMPLES, TEMPERATURE))
        assert model.config._attn_implementation == ("sdpa" if choice == "auto" else name)
    torch.testing.assert_close(*found, rtol=0, atol=LOG_PROBS)


def test_the_adapter_of_a_bfloat16_model_is_float32():
    policy = tiny_policy(model=tiny_model(torch.bfloat16))
    assert {parameter.dtype for parameter in policy.trainable} == {torch.float32}
    frozen = [parameter for parameter in policy.model.parameters() if not parameter.requires_grad]
    assert {parameter.dtype for parameter in frozen} == {torch.bfloat16}


def test_a_model_that_other_kernels_misread_is_not_said_to_be_at_fault_alone(monkeypatch):
    monkeypatch.setattr(Policy, "_gap_to_plain_forward", lambda _: 0.5)
    with pytest.raises(ConfigError, match=r"Choose another training\.model$"):
        tiny_policy()
    model = tiny_model()
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(
        ConfigError,
        match=r"Set training\.attn_implementation: sdpa \(it is flash_attention_2\), or",
    ):
        tiny_policy(model=model)
