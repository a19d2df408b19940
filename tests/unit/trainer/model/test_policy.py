"""Log-probabilities and gradients against a plain float64 reference; saving; refusing what
cannot be computed.
"""

from __future__ import annotations

import peft
import pytest
import torch

from markbook.config.settings import Config, Training
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.types import Sample, Task
from tests.tiny import move_adapter, tiny_model, tiny_policy
from tests.tolerance import LOG_PROBS, TINY_MODEL

TEMPERATURE = 0.7


def sample(index: int, prompt: tuple[int, ...], ids: tuple[int, ...]) -> Sample:
    return Sample(
        Task(index, "p", "python", prompt), ids, "", truncated=False, log_probs=(-1.0,) * len(ids)
    )


# Prompts of unequal length, so that rows are left-padded; completions of unequal length, one of a
# single token.
SAMPLES = [
    sample(0, (5, 6, 7, 8, 9, 10, 11), (40, 41, 42, 43, 1)),
    sample(1, (20, 21), (50, 51)),
    sample(0, (5, 6, 7, 8, 9, 10, 11), (44, 45, 46)),
    sample(1, (20, 21), (1,)),
    sample(2, (30, 31, 32), (60, 61, 62, 63, 64, 65, 66, 67)),
]
ADVANTAGES = [1.5, -0.5, 0.75, -2.0, 0.0]


def float64_model(policy: Policy, *, adapter: bool) -> torch.nn.Module:
    """The same weights in float64, and no code of ours."""
    model = add_adapter(tiny_model(torch.float64), Training(lora_r=4, lora_alpha=8))
    state = {name: value.double() for name, value in policy.model.state_dict().items()}
    model.load_state_dict(state)
    for _, parameter in model.named_parameters():
        parameter.data = parameter.data.double()
    return model if adapter else model.unload()


def naive_log_probs(model: torch.nn.Module, one: Sample) -> torch.Tensor:
    """One sample, no padding, no cache, full logits."""
    ids = torch.tensor([[*one.task.token_ids, *one.ids]])
    logits = model(input_ids=ids).logits[0] / TEMPERATURE
    start = len(one.task.token_ids)
    table = logits[start - 1 : -1].log_softmax(-1)
    return table.gather(-1, ids[0, start:, None])[:, 0]


def test_log_probs_equal_a_plain_float64_forward():
    policy = tiny_policy()
    ours = policy.log_probs(SAMPLES, TEMPERATURE)
    reference = adapter_off(policy).log_probs(SAMPLES, TEMPERATURE)
    plain = torch.cat(
        [naive_log_probs(float64_model(policy, adapter=True), one) for one in SAMPLES]
    )
    plain_base = torch.cat(
        [naive_log_probs(float64_model(policy, adapter=False), one) for one in SAMPLES]
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), plain, rtol=0, atol=LOG_PROBS)
    torch.testing.assert_close(reference.double(), plain_base, rtol=0, atol=LOG_PROBS)
    assert (ours - reference).abs().max() > 0.1  # the adapter does something
    assert not reference.requires_grad


def gradient(policy: Policy, micro_batch_size: int, kl_penalty: float) -> torch.Tensor:
    config = Config.model_validate(
        {
            "training": {"micro_batch_size": micro_batch_size},
            "rlaif": {"generation_temperature": TEMPERATURE, "kl_penalty": kl_penalty},
        }
    )
    policy.model.zero_grad(set_to_none=True)
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    accumulate(policy, adapter_off(policy), experiences, config, kl_penalty)
    return torch.cat([parameter.grad.flatten() for parameter in policy.trainable])


@pytest.mark.parametrize("kl_penalty", [0.0, 0.3])
def test_the_gradient_equals_that_of_a_plain_float64_loss(kl_penalty):
    policy = tiny_policy()
    model, base = float64_model(policy, adapter=True), float64_model(policy, adapter=False)
    loss = torch.zeros((), dtype=torch.float64)
    policy_tokens = sum(
        len(one.ids) for one, value in zip(SAMPLES, ADVANTAGES, strict=True) if value != 0
    )
    all_tokens = sum(len(one.ids) for one in SAMPLES)
    for one, value in zip(SAMPLES, ADVANTAGES, strict=True):
        log_probs = naive_log_probs(model, one)
        difference = naive_log_probs(base, one).detach() - log_probs
        loss = loss - value * log_probs.sum() / policy_tokens
        loss = loss + kl_penalty * (difference.exp() - difference - 1).sum() / all_tokens
    loss.backward()
    plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    ours = gradient(policy, micro_batch_size=2, kl_penalty=kl_penalty).double()
    assert plain.norm() > 0.01
    assert (ours - plain).norm() / plain.norm() < TINY_MODEL


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_micro_batches_add_up_to_the_whole_batch(size):
    policy = tiny_policy()
    whole = gradient(policy, micro_batch_size=5, kl_penalty=0.3)
    parts = gradient(policy, micro_batch_size=size, kl_penalty=0.3)
    assert (parts - whole).norm() / whole.norm() < TINY_MODEL


def test_the_head_works_in_chunks(monkeypatch):
    policy = tiny_policy()
    whole = gradient(policy, 5, 0.3)
    monkeypatch.setattr("markbook.trainer.model.fused_logprobs.CHUNK", 3)
    assert (gradient(policy, 5, 0.3) - whole).norm() / whole.norm() < TINY_MODEL


def test_no_logits_are_kept_for_backward():
    policy = tiny_policy()
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(tuple(t.shape)) or t, lambda t: t
    ):
        policy.log_probs(SAMPLES, TEMPERATURE)
    tokens = sum(len(one.ids) for one in SAMPLES)
    assert kept
    assert not [shape for shape in kept if shape[-1:] == (258,) and shape[0] == tokens]


def test_folding_the_adapter_in_changes_nothing_and_leaves_nothing_behind():
    policy = tiny_policy()
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    apart = policy.log_probs(SAMPLES, TEMPERATURE)
    with policy.folded(), torch.no_grad():
        folded = policy.log_probs(SAMPLES, TEMPERATURE)
        assert sum("forward" in vars(module) for module in policy.model.modules()) == 3 * 7 + 1
    assert not any("forward" in vars(module) for module in policy.model.modules())
    torch.testing.assert_close(folded, apart, rtol=0, atol=LOG_PROBS)
    after = policy.model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert torch.equal(policy.log_probs(SAMPLES, TEMPERATURE), apart)


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # PEFT reads it
def test_a_saved_adapter_loads_with_peft_alone(tmp_path):
    policy = tiny_policy()
    policy.save_adapter(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7, 40, 41]])
    assert torch.equal(loaded(input_ids=ids).logits, policy.model(input_ids=ids).logits)
    assert not torch.allclose(
        loaded(input_ids=ids).logits, tiny_model()(input_ids=ids).logits, atol=1e-2
    )


def test_an_adapter_starts_the_same_for_the_same_seed():
    first, same, other = (
        tiny_policy(Training(lora_r=4, seed=seed), moved=False) for seed in (3, 3, 4)
    )
    start = [torch.cat([p.flatten() for p in policy.trainable]) for policy in (first, same, other)]
    assert torch.equal(start[0], start[1])
    assert not torch.equal(start[0], start[2])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_of_dropout_only_the_adapters_is_on_while_learning(checkpointing):
    def moves(lora_dropout: float, attention_dropout: float) -> float:
        settings = Training(
            lora_r=4, lora_alpha=8, lora_dropout=lora_dropout, gradient_checkpointing=checkpointing
        )
        policy = tiny_policy(settings, model=tiny_model(attention_dropout=attention_dropout))
        drawn = policy.log_probs(SAMPLES, TEMPERATURE)
        with policy.learning():
            learned = policy.log_probs(SAMPLES, TEMPERATURE)
        assert torch.equal(policy.log_probs(SAMPLES, TEMPERATURE), drawn)  # and off again
        return (learned - drawn).abs().max().item()

    assert moves(lora_dropout=0.0, attention_dropout=0.5) < 1e-5
    assert moves(lora_dropout=0.5, attention_dropout=0.5) > 0.1


def test_only_the_adapter_learns():
    policy = tiny_policy()
    move_adapter(policy, seed=2)
    gradient(policy, 5, 0.3)
    touched = {
        name for name, parameter in policy.model.named_parameters() if parameter.grad is not None
    }
    assert touched
    assert all("lora_" in name for name in touched)
