"""The frozen reference: the same model with its adapter switched off, so no second copy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.policy import Policy, Sample


def reference_log_probs(policy: Policy, samples: Sequence[Sample], temperature: float) -> Tensor:
    """(N,) log-probabilities under the base model, laid out as `Policy.log_probs` lays them out."""
    with torch.no_grad(), policy.model.disable_adapter():
        return policy.log_probs(samples, temperature)
