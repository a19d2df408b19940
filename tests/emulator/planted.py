"""Judges with planted faults: an AUC, a place in the request that costs marks, companions that move
them.

What each plants is computed from the distributions, so that a test can compare it with what
`markbook judge` finds.
"""

from __future__ import annotations

import hashlib
import math
import random
import statistics
from collections.abc import Callable, Sequence

from tests.emulator.judges import CRITERIA, Marks

Distribution = Sequence[float]
"""Probabilities of the scores of a grid, in its order."""
IsRight = Callable[[str], bool]


def rising(grid: Sequence[float], slope: float) -> Distribution:
    """Probabilities that rise with the score for a positive slope."""
    weights = [math.exp(slope * score) for score in grid]
    return [weight / sum(weights) for weight in weights]


def exact_auc(right: Distribution, wrong: Distribution) -> float:
    total = 0.0
    for at, share in enumerate(right):
        total += share * (sum(wrong[:at]) + wrong[at] / 2)
    return total


def with_auc(grid: Sequence[float], auc: float) -> tuple[Distribution, Distribution]:
    """Distributions of the scores of right and of wrong samples with this AUC, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(60):
        slope = (low + high) / 2
        if exact_auc(rising(grid, slope), rising(grid, -slope)) < auc:
            low = slope
        else:
            high = slope
    return rising(grid, low), rising(grid, -low)


def mean(grid: Sequence[float], shares: Distribution) -> float:
    return sum(share * score for share, score in zip(shares, grid, strict=True))


class PlantedJudge:
    """Draws the mark of a code from the distribution of its truth, by a hash of seed and code: the
    same at each call.

    `per_place`: what each later place in the request adds, in hundredths. `pull`: the share by
    which a sample gains what its companions have below 50 on average, and loses what they have
    above.
    """

    def __init__(
        self,
        auc: float,
        is_right: IsRight,
        *,
        seed: int,
        grid: Sequence[float] = tuple(at / 20 for at in range(21)),
        per_place: int = 0,
        pull: float = 0.0,
    ) -> None:
        self.grid = grid
        self.right, self.wrong = with_auc(grid, auc)
        self._is_right = is_right
        self._seed = seed
        self._per_place = per_place
        self._pull = pull

    def __call__(self, codes: Sequence[str]) -> list[Marks]:
        own = [self.draw(code) for code in codes]
        marks: list[Marks] = []
        for place, mark in enumerate(own):
            others = own[:place] + own[place + 1 :]
            shift = self._pull * (50 - statistics.fmean(others)) if others else 0.0
            moved = round(mark + self._per_place * place + shift)
            assert 0 <= moved <= 100, (
                "a mark at the end of the scale would move by less than was planted"
            )
            marks.append((moved,) * CRITERIA)
        return marks

    def draw(self, code: str) -> int:
        """The mark of a code by itself, from 0 to 100."""
        rng = random.Random(hashlib.sha256(f"{self._seed} {code}".encode()).digest())
        [score] = rng.choices(self.grid, self.right if self._is_right(code) else self.wrong)
        return round(100 * score)

    def moved_by_companions(self, companions: Sequence[bool]) -> float:
        """The expected shift of the score of a sample with right (True) and wrong companions."""
        means = [mean(self.grid, self.right if is_right else self.wrong) for is_right in companions]
        return self._pull * (0.5 - statistics.fmean(means))
