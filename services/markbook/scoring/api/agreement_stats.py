"""Builds the agreement of the teacher with tests for `/stats`: by run, and by run, profile and
language.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from markbook.config.settings import Rlaif
from markbook.contract import (
    AgreementCount,
    AgreementStats,
    TeacherAgreement,
    agreement_interval,
    agreement_share,
)
from markbook.scoring.evaluation.agreement import auc_of_counts
from markbook.scoring.observability.agreement import does_agree
from markbook.scoring.store import JudgedKind, Profile, Rollups

MIN_FOR_AUC = 10
"""Samples of either kind below which an AUC would be read as a figure and is an accident."""


def to_agreement(judged: Mapping[JudgedKind, int]) -> TeacherAgreement:
    """The counts, and the figures that they give."""
    if not judged:
        return TeacherAgreement()
    counts: Counter[tuple[bool, bool]] = Counter()
    by_percent: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    for kind, samples in judged.items():
        counts[kind.passed, does_agree(kind)] += samples
        by_percent[kind.passed][kind.percent] += samples
    right, wrong = by_percent[True], by_percent[False]
    plain = TeacherAgreement(
        passed=right.total(),
        passed_agreeing=counts[True, True],
        failed=wrong.total(),
        failed_agreeing=counts[False, True],
    )
    low, high = agreement_interval(plain) or (None, None)
    auc = auc_of_counts(right, wrong) if min(right.total(), wrong.total()) >= MIN_FOR_AUC else None
    figures = {"agreement": agreement_share(plain), "low": low, "high": high, "auc": auc}
    return TeacherAgreement(**plain.model_dump(exclude_none=True), **figures)


def build_agreement(
    rlaif: Rlaif,
    sums: Rollups,
    profiles: Sequence[Profile],
    low_runs: Sequence[str],
    run: str | None,
) -> AgreementStats:
    """Of all that is in `sums`, or of one `run`."""
    parts: defaultdict[tuple[str, bytes, str], Counter[JudgedKind]] = defaultdict(Counter)
    for (_, name), totals in sums.tallies.items():
        for kind, samples in totals.judged.items():
            if run is None or run == name:
                parts[name, kind.profile, kind.language][kind] += samples
    known = {profile.id: profile.identity for profile in profiles}
    counts: list[AgreementCount] = []
    for (name, profile, language), judged in sorted(parts.items()):
        identity = known.get(profile.hex(), {})
        counts.append(
            AgreementCount(
                run=name,
                profile=profile.hex(),
                model=_model(identity),
                rubric=str(identity.get("rubric") or ""),
                language=language,
                **to_agreement(judged).model_dump(),
            )
        )
    return AgreementStats(
        tests_audit_rate=rlaif.tests_audit_rate,
        min_agreement=rlaif.min_teacher_agreement,
        min_samples=rlaif.min_agreement_samples,
        low_runs=sorted(low_runs),
        counts=counts,
    )


def _model(identity: Mapping[str, object]) -> str:
    """The teacher's model, or the name of a teacher that has none."""
    teacher = identity.get("teacher")
    return (
        str(teacher.get("model") or teacher.get("name") or "")
        if isinstance(teacher, Mapping)
        else ""
    )
