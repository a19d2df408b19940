"""Part b of gpu-check: a step at the shapes of Qwen3-0.6B and 1.7B, with random weights; ours
beside a plain loop.

Both draw the same number of tokens (no sample may end early) and learn from all of them with LoRA
and a KL term. The plain loop is what a trainer does that knows nothing of groups: transformers'
`generate`, each sample read whole with its prompt, log-probabilities of all logits, the reference
by switching the adapter off.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
import transformers

from markbook.config.settings import Config, Training
from markbook.trainer.gradients import Experience
from markbook.trainer.learner import Learner
from markbook.trainer.model.loading import add_adapter
from markbook.trainer.model.policy import Policy
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.types import Sample, Task
from tests.tiny import tiny_tokenizer

Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A model and a batch: `tasks` x `samples` of `new` tokens, after prompts of `prompt`
    tokens.
    """

    name: str
    hidden: int
    intermediate: int
    layers: int = 28
    heads: int = 16
    head_dim: int = 128
    vocabulary: int = 151_936
    tasks: int = 64
    samples: int = 8
    prompt: int = 64
    new: int = 256
    micro_batch: int = 16
    seconds: float = 90.0
    """About what its rows take; less time left than that, and they are left out."""


SHAPES = (Shape("Qwen3-0.6B", 1024, 3072), Shape("Qwen3-1.7B", 2048, 6144, seconds=120.0))
TINY = {
    "layers": 2,
    "heads": 4,
    "head_dim": 8,
    "vocabulary": 300,
    "tasks": 2,
    "samples": 4,
    "prompt": 5,
    "new": 6,
}


def run(dry: bool, left_s: float, _steps: int) -> list[Row]:
    """A row for each shape and side."""
    started, rows = time.perf_counter(), list[Row]()
    device = torch.device("cpu" if dry else "cuda")
    for shape in SHAPES:
        if dry:
            shape = replace(shape, hidden=32, intermediate=64, micro_batch=4, seconds=0.0, **TINY)  # type: ignore[arg-type]
        if left_s - (time.perf_counter() - started) < shape.seconds:
            rows.append({"model": shape.name, "side": "left out: too little time"})
            continue
        for name, side in (("Markbook", ours), ("plain loop", plain)):
            try:
                rows.append({"model": shape.name, "side": name, **side(shape, device)})
            except torch.OutOfMemoryError as error:
                rows.append(
                    {"model": shape.name, "side": name, "error": str(error).splitlines()[0]}
                )
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if find_spec("trl") is not None:
        rows.append(
            {
                "side": "TRL is installed: make bench-trainer ARGS='--device cuda' compares with "
                "its trainer"
            }
        )
    return rows


def ours(shape: Shape, device: torch.device) -> Row:
    policy = Policy(build(shape, device), tiny_tokenizer())
    config = Config.model_validate(
        {
            "training": {"micro_batch_size": shape.micro_batch},
            "rlaif": {"kl_penalty": 0.02, "max_staleness": 0},
        }
    )
    batch = shape.tasks * shape.samples
    temperature = config.rlaif.generation_temperature
    learner = Learner(policy, adapter_off(policy), config)
    warm = replace(shape, tasks=2, new=min(shape.new, 8))

    def draw(shape: Shape) -> list[Sample]:
        sampler = Sampler(
            policy, temperature=temperature, max_new_tokens=shape.new, batch_size=batch, seed=0
        )
        sampler._ended = lambda _: False  # type: ignore[assignment,return-value]
        groups = sampler.groups(prompts(shape), shape.samples, (0, 1))
        return [sample for _, group in groups for sample in group]

    def learn(samples: list[Sample]) -> None:
        learner.step(
            [Experience(sample, (-1.0) ** place, True) for place, sample in enumerate(samples)]
        )

    learn(draw(warm))
    reset_peak(device)
    drawing, samples = timed(lambda: draw(shape), device)
    drawing_peak = peak_gib(device)
    learning, _ = timed(lambda: learn(samples), device)
    peak = peak_gib(device)
    some = samples[: 2 * shape.micro_batch]
    return {
        **figures(shape, drawing, learning, drawing_peak, peak),
        "micro-batch": learner.micro_batches.size,
        "drawing outside kernels": share_outside(
            lambda: draw(replace(shape, new=min(shape.new, 16))), device
        ),
        "learning outside kernels": share_outside(lambda: learn(some), device),
    }


def plain(shape: Shape, device: torch.device) -> Row:
    model = build(shape, device)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)

    def draw(shape: Shape) -> torch.Tensor:
        rows = [task.token_ids for task in prompts(shape) for _ in range(shape.samples)]
        ids = torch.tensor(rows, device=device)
        return model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.85,
            top_k=0,
            max_new_tokens=shape.new, min_new_tokens=shape.new, pad_token_id=1,
        )  # type: ignore[no-any-return] # fmt: skip

    def log_probs(rows: torch.Tensor, new: int) -> torch.Tensor:
        logits = model(input_ids=rows, logits_to_keep=new + 1).logits[:, :-1].float() / 0.85
        chosen = rows[:, -new:, None]
        return logits.log_softmax(-1).gather(-1, chosen)[..., 0]  # type: ignore[no-any-return]

    def learn(rows: torch.Tensor, new: int) -> None:
        for part in rows.split(shape.micro_batch):
            with torch.no_grad(), model.disable_adapter():
                reference = log_probs(part, new)
            now = log_probs(part, new)
            signs = torch.arange(len(part), device=device)[:, None] % 2 * 2.0 - 1
            gap = reference - now
            loss = (-(signs * now) + 0.02 * (gap.exp() - gap - 1)).mean() * len(part) / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    warm = replace(shape, tasks=2, new=min(shape.new, 8))
    learn(draw(warm), warm.new)
    reset_peak(device)
    drawing, rows = timed(lambda: draw(shape), device)
    drawing_peak = peak_gib(device)
    learning, _ = timed(lambda: learn(rows, shape.new), device)
    return {
        **figures(shape, drawing, learning, drawing_peak, peak_gib(device)),
        "micro-batch": shape.micro_batch,
    }


def build(shape: Shape, device: torch.device) -> Any:
    """Made on the device: to draw 1.7 billion random numbers on a CPU takes as long as a step."""
    config = transformers.Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        head_dim=shape.head_dim, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return add_adapter(model.to(device).eval(), Training(lora_r=16))


def prompts(shape: Shape) -> list[Task]:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(
        2, shape.vocabulary, (shape.tasks, shape.prompt), generator=generator
    ).tolist()
    return [Task(index, "task", "python", tuple(row)) for index, row in enumerate(rows)]


def figures(shape: Shape, drawing: float, learning: float, drawing_peak: float, peak: float) -> Row:
    samples = shape.tasks * shape.samples
    return {
        "samples/s": samples / (drawing + learning),
        "tokens drawn/s": samples * shape.new / drawing,
        "tokens learned/s": samples * shape.new / learning,
        "drawing, s": drawing,
        "learning, s": learning,
        "peak drawing, GiB": drawing_peak,
        "peak, GiB": peak,
    }


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    wait(device)
    started = time.perf_counter()
    found = work()
    wait(device)
    return time.perf_counter() - started, found


def share_outside(work: Callable[[], Any], device: torch.device) -> float | None:
    """Share of the time in which the GPU runs no kernel: kernels are timed by the profiler, the
    whole without it.
    """
    if device.type != "cuda":
        return None
    whole, _ = timed(work, device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        wait(device)
    kernels = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return max(0.0, 1 - kernels / whole)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float:
    """The most that was allocated on the GPU; on a CPU, that was resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
