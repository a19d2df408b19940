"""What is measured: samples with a score and a truth, and what the marks of each task cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a sample was in the request that it was judged in: `place` from 1, among those of
    the same `group`.
    """

    group: str
    place: int


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """One sample that has a score. A sample without one is left out: there is no number for it.

    `index` names the sample in its file, `task` is in 0 .. tasks - 1. `truth` and `score` are in
    [0, 1]; `is_right` is the truth as yes or no. `repeats`: the scores of later, independent
    requests for the same mark. `shown` is None where its place is not known, or was not drawn at
    random.
    """

    index: int
    task: int
    truth: float
    is_right: bool
    score: float
    repeats: tuple[float, ...] = ()
    shown: Shown | None = None


@dataclass(frozen=True, slots=True)
class TaskCost:
    """What the marks of one task cost. `usd` is None where the model's price is not known.

    `scored` samples: `judged` of them by the teacher now, `cached` ones by the teacher before; the
    rest needed no teacher.
    """

    task: int
    tokens: int
    usd: float | None
    scored: int
    judged: int
    cached: int
