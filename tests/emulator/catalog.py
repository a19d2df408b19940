"""The models and their rules, written down here on their own: a mistake in the service's table
must show.
"""

from __future__ import annotations

from dataclasses import dataclass

EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True)
class Model:
    """`thinking`: the types accepted.

    `thinks`: it does so when nothing is said. Prices in dollars a million tokens.
    """

    floor: int
    thinking: frozenset[str]
    thinks: bool
    input: float
    output: float
    cache_read: float = 0.1
    efforts: tuple[str, ...] = EFFORTS


MODELS = {
    "claude-haiku-5-5": Model(512, frozenset({"disabled", "adaptive"}), True, 0.10, 0.50),
    "claude-sonnet-5-5": Model(
        512, frozenset({"between_tools", "adaptive"}), True, 2.0, 10.0, 0.05
    ),
    "claude-opus-5-5": Model(512, frozenset({"adaptive"}), True, 4.0, 20.0, 0.05),
    "claude-haiku-4-5": Model(
        4096, frozenset({"disabled", "enabled"}), False, 1.0, 5.0, efforts=()
    ),
}
