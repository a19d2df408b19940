"""How the waiting threads of torch's pool behave on a CPU. To be set before torch is loaded."""

from __future__ import annotations

import os

SPINS = "3000"
"""Rounds in which a thread looks for work before it sleeps: longer than the gaps between a model's
small operations, where waking it up took a tenth of learning and a quarter of sampling. On a
machine that has other work, too, rounds are time lost: a tenth with these, and with ten times as
many a step took three times as long.
"""


def limit_spinning() -> None:
    """Changes nothing where the user has configured how threads wait."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}
