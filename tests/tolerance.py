"""How far float32 results may lie from exact ones, from the number format and the number of terms."""

from __future__ import annotations

import torch

_CHAINED = 8
"""Rounded operations a term goes through besides the sum: exp, log, divisions and the logits' own products."""


def float32_error(terms: int) -> float:
    """A relative bound for sums of `terms` float32 numbers, in whatever order a CPU adds them.

    Each of `terms` additions rounds by at most half of eps, and so does each operation on a term before it
    (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
    """
    return torch.finfo(torch.float32).eps / 2 * (terms + _CHAINED)
