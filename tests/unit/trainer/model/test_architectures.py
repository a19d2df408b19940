"""Which students can be trained: tiny random models of many architectures, against their own plain
forward pass.

Each covers log-probabilities of policy and reference, the gradient of a loss with KL, sampling, and
the adapter loaded again by PEFT. The whole table is a long test; the short part has one model for
each way of reading or adapting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.types import Sample, Task
from tests.architectures import ARCHITECTURES, WORDS, build_model
from tests.tiny import move_adapter, tiny_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning"
    ),
]

SHORT = (
    "Qwen3.5",
    "Qwen3-MoE",
    "Gemma 2",
    "Granite 4",
    "Cohere",
    "LFM2",
    "Phi-MoE",
    "Falcon-H1",
    "Mamba 2",
)
TEMPERATURE = 0.7
PROMPTS = (tuple(range(5, 25)), (20, 21, 22), tuple(range(30, 40)))
KL = 0.3
GAP = 1e-4
"""An absolute bound for log-probabilities, ten to a hundred times the rounding of float32 in models
of this size: the recurrent form of linear attention rounds otherwise than the one in chunks. A
wrong state or mask gives 0.1 and more.
"""


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build_policy(name: str, gradient_checkpointing: bool = False) -> Policy:
    model = add_adapter(build_model(name), Training(lora_r=4, lora_alpha=8))
    policy = Policy(model, tiny_tokenizer(), gradient_checkpointing)
    move_adapter(policy)
    return policy


def sample(index: int, ids: Sequence[int]) -> Sample:
    return Sample(
        Task(index, "p", "python", PROMPTS[index]), tuple(ids), "", False, (-1.0,) * len(ids)
    )


SAMPLES = [
    sample(0, (40, 41, 42, 43, 1)),
    sample(1, (50, 51)),
    sample(0, (44, 45, 46)),
    sample(1, (1,)),
    sample(2, range(60, 80)),
]
ADVANTAGES = (1.5, -0.5, 0.75, -2.0, 1.0)


def plain_log_probs(model: Any, samples: Sequence[Sample]) -> torch.Tensor:
    """One sample at a time through the model's own forward pass, without a cache."""
    found = []
    for each in samples:
        row = torch.tensor([[*each.task.token_ids, *each.ids]])
        logits = model(input_ids=row, use_cache=False).logits[0].float() / TEMPERATURE
        start = len(each.task.token_ids)
        found.append(logits[start - 1 : -1].log_softmax(-1).gather(-1, row[0, start:, None])[:, 0])
    return torch.cat(found)


def gradient(policy: Policy) -> torch.Tensor:
    parts = [
        torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in policy.trainable
    ]
    policy.model.zero_grad(set_to_none=True)
    return torch.cat(parts)


def check_log_probs_and_gradient(policy: Policy) -> None:
    ours, plain = policy.log_probs(SAMPLES, TEMPERATURE), plain_log_probs(policy.model, SAMPLES)
    reference = adapter_off(policy).log_probs(SAMPLES, TEMPERATURE)
    with policy.model.disable_adapter(), torch.no_grad():
        base = plain_log_probs(policy.model, SAMPLES)
    assert (ours - plain).abs().max() < GAP
    assert (reference - base).abs().max() < GAP
    assert (ours - reference).abs().max() > 0.1, "the adapter changes nothing"

    config = Config.model_validate(
        {
            "training": {"micro_batch_size": 2},
            "rlaif": {
                "generation_temperature": TEMPERATURE,
                "kl_penalty": KL,
                "kl_estimator": "k3",
            },
        }
    )
    experiences = [Experience(each, a, True) for each, a in zip(SAMPLES, ADVANTAGES, strict=True)]
    accumulate(policy, adapter_off(policy), experiences, config, KL)
    found = gradient(policy)
    weights = torch.cat(
        [torch.full((len(each.ids),), a) for each, a in zip(SAMPLES, ADVANTAGES, strict=True)]
    )
    ratio = base - plain
    (
        -(weights * plain).sum() / len(plain) + KL * (ratio.exp() - ratio - 1).sum() / len(plain)
    ).backward()
    expected = gradient(policy)
    assert (found - expected).norm() < 1e-3 * expected.norm()


def check_sampling(policy: Policy) -> None:
    """What a batch with prompts of three lengths draws has the log-probabilities of the plain
    forward pass.
    """
    sampler = Sampler(policy, temperature=TEMPERATURE, max_new_tokens=16, batch_size=4, seed=0)
    tasks = [Task(index, "p", "python", prompt) for index, prompt in enumerate(PROMPTS)]
    drawn = [each for _, group in sorted(sampler.groups(tasks, 3, (0, 1))) for each in group]
    assert len(drawn) == 9
    with torch.no_grad():
        plain = plain_log_probs(policy.model, drawn)
    assert (
        torch.tensor([value for each in drawn for value in each.log_probs]) - plain
    ).abs().max() < 10 * GAP


def check_peft_loads_it(policy: Policy, name: str, folder: Any) -> None:
    policy.save_adapter(folder)
    loaded = PeftModel.from_pretrained(build_model(name), folder).eval()
    row = torch.tensor([[*PROMPTS[0], 40, 41, 42]])
    with torch.no_grad():
        assert (loaded(input_ids=row).logits - policy.model(input_ids=row).logits).abs().max() < GAP


def check(name: str, folder: Any) -> None:
    policy = build_policy(name)
    check_log_probs_and_gradient(policy)
    check_sampling(policy)
    check_peft_loads_it(policy, name, folder)


@pytest.mark.parametrize("name", SHORT)
def test_an_architecture_for_each_way_of_reading(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.parametrize("name", ["Llama", "Qwen3.5", "Falcon", "Mamba 2"])
def test_with_gradient_checkpointing_the_gradient_is_the_same(name):
    """Falcon calls its cache `layer_past`; the others have one, none, or one by a third name."""
    check_log_probs_and_gradient(build_policy(name, gradient_checkpointing=True))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in SHORT])
def test_every_other_architecture(name, tmp_path):
    check(name, tmp_path)


def test_routers_that_return_more_than_a_tensor_and_mambas_output_have_no_adapter():
    def update_kl_coef(name: str) -> set[str]:
        names = build_policy(name).model.state_dict()
        return {key.split(".lora_A")[0].rsplit(".", 1)[1] for key in names if ".lora_A" in key}

    assert update_kl_coef("Phi-MoE") == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert update_kl_coef("Mamba 2") == {"in_proj"}
    assert "out_proj" in update_kl_coef("LFM2")  # a convolution's, which PEFT can adapt


def test_a_model_whose_logits_are_not_understood_is_refused_with_the_difference(monkeypatch):
    model = build_model("Llama")
    head = model.lm_head.forward
    plain = type(model).forward

    def shifted(self, *args, **kwargs):
        out = plain(self, *args, **kwargs)
        out.logits = out.logits.roll(1, -1)
        return out

    monkeypatch.setattr(type(model), "forward", shifted)
    assert model.lm_head.forward == head
    with pytest.raises(
        ConfigError, match=r"llama cannot be trained here: its logits are not .*relative difference"
    ):
        Policy(add_adapter(model, Training(lora_r=4)), tiny_tokenizer())


def test_an_architecture_that_breaks_is_refused_in_one_line(monkeypatch):
    model = build_model("Llama")

    def broken(*_args, **_kwargs):
        raise AttributeError("no such\nthing")

    monkeypatch.setattr(type(model.model), "forward", broken)
    with pytest.raises(
        ConfigError,
        match=r"llama cannot be trained here: reading it in parts failed with .* no such thing\.",
    ):
        Policy(add_adapter(model, Training(lora_r=4)), tiny_tokenizer())


def test_a_token_that_the_tokenizer_does_not_know_is_no_text():
    """Published models have more logits than tokens; the rest is hardly ever drawn, but may be."""
    assert tiny_tokenizer().decode([40, WORDS - 1, 41]) == tiny_tokenizer().decode([40, 41])


def test_the_document_lists_every_architecture():
    text = (Path(__file__).parents[4] / "docs" / "students.md").read_text()
    missing = [name for name in ARCHITECTURES if f"{name.split(', ')[0]}" not in text]
    assert not missing
