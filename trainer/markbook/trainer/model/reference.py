"""The frozen reference that the KL term holds the policy to: the model without its adapter, or a
copy of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import psutil
import torch
from torch import Tensor, nn

from markbook.config.settings import Config
from markbook.trainer.model.loading import load_base
from markbook.trainer.model.policy import LanguageModel, Policy
from markbook.trainer.types import Sample

Say = Callable[[str], None]


class Reference:
    """What a model says inside `apart()`, never with gradients."""

    def __init__(
        self, model: LanguageModel, apart: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._model = model
        self._apart = apart

    def states(self, samples: Sequence[Sample]) -> Tensor:
        """(N, H), laid out as `LanguageModel.states` lays them out."""
        with torch.no_grad(), self._apart():
            return self._model.states(samples)

    def log_probs(self, samples: Sequence[Sample], temperature: float) -> Tensor:
        """(N,), laid out as `LanguageModel.log_probs` lays them out."""
        with torch.no_grad(), self._apart():
            return self._model.log_probs(samples, temperature)


def load_reference(policy: Policy, config: Config, log: Say) -> Reference | None:
    """The reference that `config` selects; None, logged once, without a KL term.

    A copy that does not fit into the memory that is free gives way to the adapter switched off,
    which says the same.
    """
    if not config.rlaif.use_frozen_reference_for_kl:
        log("no KL term: rlaif.use_frozen_reference_for_kl is false")
        return None
    if config.rlaif.kl_reference == "copy":
        needed, free = base_bytes(policy), free_bytes(policy.device)
        if needed <= free:
            return Reference(LanguageModel(load_base(config.training).requires_grad_(False).eval()))
        log(
            f"kl_reference: copy does not fit ({needed / 2**30:.1f} GiB needed, "
            f"{free / 2**30:.1f} GiB free): using adapter_off instead, which gives the same KL"
        )
    return adapter_off(policy)


def adapter_off(policy: Policy) -> Reference:
    """No second copy: the policy with its adapter switched off."""
    return Reference(policy, policy.model.disable_adapter)


def base_bytes(policy: Policy) -> int:
    return sum(
        parameter.numel() * parameter.element_size() for _, parameter in _frozen(policy.model)
    )


def free_bytes(device: torch.device) -> int:
    """Bytes free on the GPU, or in the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def base_checksum(policy: Policy) -> str:
    """SHA-256 of all frozen weights, their names included: the same before and after, or
    something moved the base.
    """
    digest = hashlib.sha256()
    for name, parameter in _frozen(policy.model):
        digest.update(name.encode())
        # a weight in 4 bits is nothing without its scales
        state = getattr(parameter, "quant_state", None)
        scales = state.as_dict(packed=True).values() if state is not None else ()
        for tensor in (parameter.detach(), *scales):
            digest.update(tensor.contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _frozen(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
    ]
