"""How far float32 results may lie from exact ones, from the number format and the number of
terms.
"""

from __future__ import annotations

import torch

_CHAINED = 8
"""Rounded operations a term goes through besides the sum: exp, log, divisions and the logits'
own products.
"""


def float32_error(terms: int) -> float:
    """A relative bound for sums of `terms` float32 numbers, in whatever order a CPU adds them.

    Each of `terms` additions rounds by at most half of eps, and so does each operation on a term
    before it (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
    """
    return torch.finfo(torch.float32).eps / 2 * (terms + _CHAINED)


TINY_MODEL = float32_error(3 * (32 + 32 + 64 + 40) + 258)
"""A relative bound, 4.6e-5, for what goes through the model of tiny.py: in each of its 3 layers
sums over 32 channels (twice), 64 of the MLP and up to 40 positions, then those over 258 logits. For
norms of gradients, KL and means.
"""
LOG_PROBS = 8 * TINY_MODEL
"""An absolute bound for its log-probabilities and hidden states, which are below 8."""
EXACT_ZERO_KL = TINY_MODEL
"""A KL between two equal policies is a mean of differences of log-probabilities that only
rounding makes.
"""
