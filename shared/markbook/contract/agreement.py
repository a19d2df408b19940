"""How far a teacher's own correctness agrees with what tests showed: counts, and the figures
that they give.
"""

from __future__ import annotations

import math

from pydantic import Field

from markbook.contract.wire import Score, WireModel

AGREES_FROM = 0.5
"""By the teacher a sample counts as right when its own correctness is at least this, and as
wrong below it.
"""
_Z = 1.959964
"""Of the normal distribution: 95 % lie within so many standard deviations."""


class TeacherAgreement(WireModel):
    """The teacher's own correctness of samples whose tests showed whether they are right.

    Samples that failed are judged by the teacher only in audits (`rlaif.tests_audit_rate`) or with
    `tests_policy: advise`, so `agreement` weighs both kinds alike, however many there are of each.
    """

    passed: int = Field(
        default=0,
        ge=0,
        description="Samples that passed all their tests and that the teacher judged.",
    )
    passed_agreeing: int = Field(default=0, ge=0, description="Of these, correctness 0.5 or more.")
    failed: int = Field(
        default=0, ge=0, description="Samples that failed a test and that the teacher judged."
    )
    failed_agreeing: int = Field(default=0, ge=0, description="Of these, correctness below 0.5.")
    agreement: Score | None = Field(
        default=None,
        description="Mean of the two agreeing shares; of one where the other has no samples; null: "
        "no samples.",
    )
    low: Score | None = Field(
        default=None, description="Lower end of its 95 % interval, for independent samples."
    )
    high: Score | None = Field(default=None, description="Upper end.")
    auc: Score | None = Field(
        default=None,
        description="Probability that a passed sample has a higher correctness than a failed one, "
        "ties count half; null with fewer than 10 of either.",
    )


def agreement_share(counts: TeacherAgreement, least: int = 1) -> float | None:
    """The mean of the shares of passed and of failed samples that the teacher agrees on: the
    balanced accuracy.

    A kind with fewer than `least` samples is left out. None where both are.
    """
    shares = [agreeing / samples for agreeing, samples in _kinds(counts) if samples >= least]
    return sum(shares) / len(shares) if shares else None


def agreement_interval(counts: TeacherAgreement) -> tuple[float, float] | None:
    """The 95 % interval of `agreement_share`, for independent samples; None without any.

    Of one kind Wilson's score interval (JASA 22, 1927); of the mean of both from the distances to
    the ends of each (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).
    """
    kinds = [(agreeing, samples) for agreeing, samples in _kinds(counts) if samples]
    if not kinds:
        return None
    share = sum(agreeing / samples for agreeing, samples in kinds) / len(kinds)
    below = above = 0.0
    for agreeing, samples in kinds:
        low, high = _wilson(agreeing, samples)
        below += (agreeing / samples - low) ** 2
        above += (high - agreeing / samples) ** 2
    return share - math.sqrt(below) / len(kinds), share + math.sqrt(above) / len(kinds)


def _kinds(counts: TeacherAgreement) -> tuple[tuple[int, int], tuple[int, int]]:
    return (counts.passed_agreeing, counts.passed), (counts.failed_agreeing, counts.failed)


def _wilson(agreeing: int, samples: int) -> tuple[float, float]:
    share, square = agreeing / samples, _Z * _Z
    centre = (share + square / (2 * samples)) / (1 + square / samples)
    reach = (
        _Z
        / (1 + square / samples)
        * math.sqrt(share * (1 - share) / samples + square / (4 * samples * samples))
    )
    return max(0.0, centre - reach), min(1.0, centre + reach)
