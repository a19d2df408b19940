"""Each objective against TRL's own loss, from the installed package, on the same tensors."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from markbook.config.settings import Rlaif
from markbook.trainer.objective import kl
from markbook.trainer.objective.loss import (
    LossDenominators,
    LossInputs,
    importance_weights,
    log_ratios,
    policy_loss,
    sample_count,
    token_weight,
)

pytestmark = [
    pytest.mark.long,
    # of TRL's own settings
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
]
pytest.importorskip("trl", reason="make test-long installs trl")

MAX_NEW_TOKENS = 9
LENGTHS = [5, 2, 7, 1, 4, 9]
ADVANTAGES = [1.5, -0.5, 0.75, -2.0, 0.25, -1.0]
BETA = 0.04
LOSS_TYPES = {
    "grpo": "grpo",
    "dr_grpo": "dr_grpo",
    "dapo": "dapo",
    "gspo": "grpo",
    "cispo": "cispo",
}


class Batch:
    """(B, T) log-probabilities now and when sampled, in float64.

    `spread`: how far they are apart.
    """

    def __init__(self, spread: float) -> None:
        generator = torch.Generator().manual_seed(3)
        shape = (len(LENGTHS), max(LENGTHS))
        self.mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
        self.now = -torch.rand(shape, generator=generator, dtype=torch.float64) - 0.1
        self.old = self.now + spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.reference = self.now + 0.3 * torch.randn(
            shape, generator=generator, dtype=torch.float64
        )
        self.entropy = torch.rand(shape, generator=generator, dtype=torch.float64)
        self.advantages = torch.tensor(ADVANTAGES, dtype=torch.float64)


def trl_loss(
    batch: Batch, rlaif: Rlaif, loss_type: str, beta: float, folder: str
) -> tuple[Tensor, Tensor]:
    """TRL's loss and its gradient (B, T) by the log-probabilities; only the model's forward pass
    is replaced.
    """
    from trl import GRPOConfig, GRPOTrainer

    now = batch.now.clone().requires_grad_()
    args = GRPOConfig(
        output_dir=folder,
        loss_type=loss_type,
        importance_sampling_level=rlaif.importance_sampling_level,
        epsilon=rlaif.clip_range,
        epsilon_high=rlaif.importance_sampling_cap
        if loss_type == "cispo"
        else rlaif.clip_range_high,
        beta=beta,
        # the k3 term of the GRPO paper; TRL's default adds the gradient of a ratio
        use_bias_correction_kl=False,
        max_completion_length=MAX_NEW_TOKENS,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    trainer = SimpleNamespace(
        args=args, loss_type=args.loss_type,
        importance_sampling_level=args.importance_sampling_level,
        epsilon_low=args.epsilon, epsilon_high=args.epsilon_high, beta=args.beta,
        max_completion_length=args.max_completion_length,
        top_entropy_quantile=args.top_entropy_quantile,
        off_policy_mask_threshold=args.off_policy_mask_threshold, use_vllm=False,
        aux_loss_enabled=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=args.steps_per_generation,
        accelerator=SimpleNamespace(
            num_processes=1, reduce=lambda value, **_: value, gather=lambda value: value
        ),
        _entropy_bonus_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, batch.entropy, None),
    )  # fmt: skip
    ids = torch.zeros_like(batch.mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids,
        "completion_mask": batch.mask.long(), "advantages": batch.advantages,
        "old_per_token_logps": batch.old,
        "ref_per_token_logps": batch.reference, "num_items_in_batch": batch.mask.sum(),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    assert now.grad is not None
    return loss.detach(), now.grad


def flat_inputs(
    batch: Batch, now: Tensor, rlaif: Rlaif, stale: bool
) -> tuple[LossInputs, LossDenominators]:
    lengths = torch.tensor(LENGTHS)
    index = torch.arange(len(LENGTHS)).repeat_interleave(lengths)
    weights = torch.tensor(
        [token_weight(length, rlaif, MAX_NEW_TOKENS) for length in LENGTHS], dtype=torch.float64
    )
    log_probs, old = now[batch.mask], batch.old[batch.mask]
    ratio = log_ratios(log_probs, old, index, rlaif)
    importance = (
        importance_weights(ratio, rlaif.importance_sampling_cap) if stale else torch.ones_like(old)
    )
    total = sum(sample_count(length, rlaif) for length in LENGTHS)
    tokens = LossInputs(log_probs, old, batch.advantages[index], weights[index], importance, ratio)
    return tokens, LossDenominators(policy=total, kl=total)


def our_loss(batch: Batch, rlaif: Rlaif, beta: float, stale: bool = True) -> tuple[Tensor, Tensor]:
    now = batch.now.clone().requires_grad_()
    tokens, totals = flat_inputs(batch, now, rlaif, stale)
    loss = policy_loss(tokens, totals, rlaif)
    if beta:
        found = kl.estimate(tokens.log_probs, batch.reference[batch.mask], "k3")
        loss = loss + beta * kl.kl_term(found, tokens.weights, totals.kl)
    loss.backward()
    assert now.grad is not None
    return loss.detach(), now.grad


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("spread", [0.0, 2e-4, 0.4, 2.0], ids=["fresh", "near", "far", "very far"])
@pytest.mark.parametrize(("objective", "loss_type"), LOSS_TYPES.items())
def test_loss_and_gradient_are_those_of_trl(tmp_path, objective, loss_type, spread, beta):
    batch, rlaif = Batch(spread), Rlaif(objective=objective)
    expected_loss, expected = trl_loss(batch, rlaif, loss_type, beta, str(tmp_path))
    loss, found = our_loss(batch, rlaif, beta)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert expected.norm() > 0.01


def test_the_objectives_differ_on_these_tensors():
    gradients = [
        our_loss(Batch(0.4), Rlaif(objective=objective), 0.0)[1] for objective in LOSS_TYPES
    ]
    for place, one in enumerate(gradients):
        for other in gradients[:place]:
            assert (one - other).norm() > 0.01


def test_rloo_on_fresh_samples_has_the_gradient_of_trl():
    """TRL clips the ratio of a whole sample, which is 1 here; the loss itself is another number."""
    from trl import RLOOTrainer

    batch, rlaif = Batch(0.0), Rlaif(objective="rloo")
    now = batch.now.clone().requires_grad_()
    trainer: Any = SimpleNamespace(
        epsilon_low=0.2, epsilon_high=0.2, aux_loss_enabled=False,
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(reduce=lambda value, **_: value, gather=lambda value: value),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, batch.entropy, None),
    )  # fmt: skip
    ids = torch.zeros_like(batch.mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids,
        "completion_mask": batch.mask.long(), "advantages": batch.advantages,
        "old_logps": (batch.old * batch.mask).sum(1),
    }  # fmt: skip
    RLOOTrainer._compute_loss(trainer, None, inputs).backward()
    _, found = our_loss(batch, rlaif, 0.0, stale=False)
    torch.testing.assert_close(found, now.grad, rtol=1e-12, atol=1e-12)
