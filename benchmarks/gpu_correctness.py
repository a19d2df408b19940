"""Part a of gpu-check: the device's numbers against those of the same weights in float32 on the
CPU.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers

from markbook.config.settings import Config, Training
from markbook.trainer.checkpoint import random_state, set_random_state
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.learner import Learner
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import LanguageModel, Policy
from markbook.trainer.model.reference import Reference, adapter_off
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.types import Sample, Task
from tests.tiny import move_adapter, tiny_tokenizer

LIMITS = {
    "log-probs, mean gap": (1e-4, 0.05),
    "gradient, relative": (1e-3, 0.1),
    "reference, copy against adapter off": (1e-5, 0.02),
    "sampler (folded) against learner, mean gap": (1e-4, 0.05),
    "resume, relative": (1e-5, 0.02),
}
"""The most in float32 and in bfloat16. Nats for gaps of log-probabilities."""
Row = dict[str, Any]


def run(dry: bool, _left_s: float, _steps: int) -> list[Row]:
    """A row for each check and precision. TF32 is off: float32 is to be float32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cpu" if dry else "cuda")
    exact = build(dry, torch.device("cpu"), torch.float32)
    samples = draw_samples(dry, exact)
    expected = exact.log_probs(samples, 1.0).detach()
    gradient = step_gradient(exact, samples)
    rows: list[Row] = []
    for place, dtype in enumerate((torch.float32, torch.bfloat16)):
        policy = build(dry, device, dtype)
        found = {
            "log-probs, mean gap": mean_gap(policy.log_probs(samples, 1.0).detach(), expected),
            "gradient, relative": relative(step_gradient(policy, samples), gradient),
            "reference, copy against adapter off": copy_gap(dry, policy, samples),
            "sampler (folded) against learner, mean gap": sampler_gap(policy, samples),
            "resume, relative": resume_gap(dry, device, dtype, samples),
        }
        for what, value in found.items():
            most = LIMITS[what][place]
            name = str(dtype).removeprefix("torch.")
            rows.append(
                {
                    "check": what,
                    "dtype": name,
                    "found": value,
                    "at most": most,
                    "passed": value <= most,
                }
            )
        rows.append(waits(policy, samples, device))
    return rows


def build(dry: bool, device: torch.device, dtype: torch.dtype, dropout: float = 0.0) -> Policy:
    """A Qwen3 of random weights, the same for every device and precision, with an adapter away
    from its start.
    """
    size = 32 if dry else 256
    config = transformers.Qwen3Config(
        vocab_size=258 if dry else 4096, hidden_size=size, intermediate_size=3 * size,
        num_hidden_layers=3 if dry else 8, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16 if dry else 64, initializer_range=0.5 / size**0.5,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Qwen3ForCausalLM(config).to(device, dtype)
    policy = Policy(add_adapter(model, Training(lora_dropout=dropout)), tiny_tokenizer())
    move_adapter(policy)
    return policy


def draw_samples(dry: bool, policy: Policy) -> list[Sample]:
    """Prompts and completions of unequal lengths: rows are padded on both sides."""
    generator = torch.Generator().manual_seed(2)
    longest = 12 if dry else 96
    samples: list[Sample] = []
    for index in range(4):
        prompt = torch.randint(2, 258, (3 + 5 * index,), generator=generator).tolist()
        task = Task(index, "task", "python", tuple(prompt))
        for _ in range(4):
            length = int(torch.randint(1, longest + 1, (), generator=generator))
            ids = torch.randint(2, 258, (length,), generator=generator).tolist()
            samples.append(Sample(task, tuple(ids), "", False, (-1.0,) * length))
    log_probs = policy.log_probs(samples, 1.0).detach().tolist()
    drawn: list[Sample] = []
    for sample in samples:
        own, log_probs = log_probs[: len(sample.ids)], log_probs[len(sample.ids) :]
        drawn.append(Sample(sample.task, sample.ids, "", False, tuple(own)))
    return drawn


def config() -> Config:
    return Config.model_validate(
        {
            "training": {"micro_batch_size": 8, "learning_rate": 1e-3, "max_steps": 4},
            "rlaif": {"generation_temperature": 1.0, "kl_penalty": 0.1},
        }
    )


def experiences(samples: list[Sample]) -> list[Experience]:
    return [
        Experience(sample, (-1.0) ** place * (1 + place % 3), True)
        for place, sample in enumerate(samples)
    ]


def step_gradient(policy: Policy, samples: list[Sample]) -> torch.Tensor:
    policy.model.zero_grad(set_to_none=True)
    accumulate(policy, adapter_off(policy), experiences(samples), config(), 0.1)
    found = (
        torch.cat([one.grad.flatten() for one in policy.trainable if one.grad is not None])
        .double()
        .cpu()
    )
    policy.model.zero_grad(set_to_none=True)
    return found


def copy_gap(dry: bool, policy: Policy, samples: list[Sample]) -> float:
    """Nats between the reference as a second copy and as the adapter switched off."""
    base = build(dry, policy.device, policy.model.dtype).model.unload()
    copied = Reference(LanguageModel(base.requires_grad_(False).eval())).log_probs(samples, 1.0)
    return mean_gap(copied, adapter_off(policy).log_probs(samples, 1.0))


def sampler_gap(policy: Policy, samples: list[Sample]) -> float:
    """Nats between what the sampler, with the adapter folded where it folds, and the learner say
    of drawn tokens.
    """
    sampler = Sampler(policy, temperature=1.0, max_new_tokens=16, batch_size=8, seed=0)
    tasks = list({sample.task: None for sample in samples})
    drawn = [sample for _, group in sampler.groups(tasks, 4, (0, 1)) for sample in group]
    with torch.no_grad():
        learned = policy.log_probs(drawn, 1.0)
    return mean_gap(
        learned, torch.tensor([value for sample in drawn for value in sample.log_probs])
    )


def resume_gap(dry: bool, device: torch.device, dtype: torch.dtype, samples: list[Sample]) -> float:
    """Of the adapter after four steps with dropout: without a break, and stopped and resumed
    after two.
    """

    def steps(learner: Learner, count: int) -> None:
        for _ in range(count):
            learner.step(experiences(samples))

    def fresh() -> tuple[Policy, Learner]:
        policy = build(dry, device, dtype, dropout=0.1)
        return policy, Learner(policy, adapter_off(policy), config())

    (unbroken, learner), (stopped, first) = fresh(), fresh()
    torch.manual_seed(3)
    steps(learner, 4)
    torch.manual_seed(3)
    steps(first, 2)
    with tempfile.TemporaryDirectory() as folder:
        stopped.save_adapter(Path(folder))
        torch.save({**first.state(), "random": random_state(device)}, Path(folder) / "state.pt")
        resumed, second = fresh()
        resumed.load_adapter(Path(folder))
        state = torch.load(Path(folder) / "state.pt", weights_only=False)
    second.restore(state)
    set_random_state(state["random"], device)
    steps(second, 2)
    return relative(weights(resumed), weights(unbroken))


def waits(policy: Policy, samples: list[Sample], device: torch.device) -> Row:
    """How often learning waits for the GPU, by the file that does: torch warns of each where it
    is configured to.
    """
    row: Row = {
        "check": "waits for the GPU in 2 micro-batches",
        "dtype": str(policy.model.dtype).removeprefix("torch."),
    }
    if device.type != "cuda":
        return {**row, "found": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step_gradient(policy, samples)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    files = Counter(Path(one.filename).name for one in caught if "synchroniz" in str(one.message))
    return {
        **row,
        "found": sum(files.values()),
        "where": ", ".join(f"{name} {n}" for name, n in files.most_common(6)),
    }


def weights(policy: Policy) -> torch.Tensor:
    return (
        torch.cat([parameter.detach().flatten() for parameter in policy.trainable]).double().cpu()
    )


def mean_gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.cpu().double() - other.cpu().double()).abs().mean())


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
