"""What is measured over the micro-batches of a step, kept on the device and read once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SumsRead:
    """`loss`: of the step. `kl`: nats per token, weighted as in the loss; 0 without that term.
    `gap`: sum of |log-prob now - when drawn| over tokens, nats. `held_back`: tokens that a clip or
    a cap holds back. `ratio_max`: the largest probability now / when drawn. `entropy`: sum over
    tokens, nats.
    """

    loss: float
    kl: float
    gap: float
    held_back: float
    ratio_max: float
    entropy: float

    def __add__(self, other: SumsRead) -> SumsRead:
        """Those of two parts of a step together, as of two processes."""
        return SumsRead(
            self.loss + other.loss,
            self.kl + other.kl,
            self.gap + other.gap,
            self.held_back + other.held_back,
            max(self.ratio_max, other.ratio_max),
            self.entropy + other.entropy,
        )


class StepSums:
    """Adds up in float64, as Python would, without a value leaving the device before `read`.

    To read a number from a GPU is to wait until it has done all before it, and then to have nothing
    queued.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64, device=device)
        self._ratio_max = torch.zeros((), dtype=torch.float64, device=device)

    def add(
        self, loss: Tensor, kl: Tensor | None, moved: Tensor, held_back: Tensor, entropy: Tensor
    ) -> None:
        """Add a micro-batch. `loss`, `kl` and `held_back` (): its shares of the step's. `moved`
        (N,): log-probability now less that when drawn. `entropy` (N,): nats of each token.
        """
        kl = torch.zeros_like(loss) if kl is None else kl
        values = (loss, kl, moved.abs().sum(), held_back, entropy.sum())
        self._sums += torch.stack([value.detach().double() for value in values])
        self._ratio_max = torch.maximum(self._ratio_max, moved.max().exp().double())

    def read(self) -> SumsRead:
        """The only wait for the device."""
        loss, kl, gap, held_back, entropy, ratio_max = torch.cat(
            [self._sums, self._ratio_max[None]]
        ).tolist()
        return SumsRead(loss, kl, gap, held_back, ratio_max, entropy)
