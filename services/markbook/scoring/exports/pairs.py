"""Preference pairs: the best and the worst sample of a task, for DPO and for reward models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markbook.scoring.exports.columns import PAIR_COLUMNS, Row
from markbook.scoring.store import Record

MIN_MARGIN = 0.1
"""Least difference of the two scores, unless another is chosen: below it the teacher's marks are
no preference.
"""


@dataclass(frozen=True, slots=True)
class _Candidate:
    score: float
    code: str


class PairFinder:
    """Finds the pairs in marks that come in the order of their keys, where those of one task follow
    each other.

    It holds the best and the worst sample of one task in each language. Marks of different profiles
    are never paired: their scores come from different teachers. `min_score`: the least that the
    chosen sample must have.
    """

    def __init__(self, min_margin: float = MIN_MARGIN, min_score: float | None = None) -> None:
        self._min_margin = min_margin
        self._min_score = min_score
        self._group: tuple[str, bytes] | None = None
        self._tasks: dict[tuple[str, str], tuple[_Candidate, _Candidate]] = {}

    def add(self, record: Record, score: float | None) -> Iterator[Row]:
        """The pairs of the task before, once `record` is of another.

        A mark without score or texts is in no pair.
        """
        name, texts = record.mark.fingerprint, record.mark.texts
        group = name.profile, name.prompt_hash
        if group != self._group:
            yield from self.end()
            self._group = group
        if score is None or texts is None:
            return
        # by the whole task: short hashes collide
        task = texts.task, name.language
        new = _Candidate(score, texts.code)
        best, worst = self._tasks.get(task, (new, new))
        self._tasks[task] = (
            new if score > best.score else best,
            new if score < worst.score else worst,
        )

    def end(self) -> Iterator[Row]:
        """The pairs of the last task."""
        tasks, self._tasks = self._tasks, {}
        for (prompt, language), (best, worst) in tasks.items():
            # rounded as scores are, so that 0.9 and 0.8 are 0.1 apart
            margin = round(best.score - worst.score, 6)
            if margin <= 0 or margin < self._min_margin:
                continue
            if self._min_score is not None and best.score < self._min_score:
                continue
            values = prompt, best.code, worst.code, best.score, worst.score, language
            yield {column.name: value for column, value in zip(PAIR_COLUMNS, values, strict=True)}
