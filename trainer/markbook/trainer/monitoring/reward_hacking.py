"""Signs of reward hacking: length, sameness, the ceiling, memorized tests, a policy that runs away,
a teacher that is fooled. Pure.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markbook.config.settings import Rlaif
from markbook.contract import Scored, Source, TeacherAgreement, agreement_share
from markbook.trainer.monitoring.memorized_tests import memorizes_tests
from markbook.trainer.types import Group, Metrics

CEILING = 0.95
"""Above this mark, samples can hardly be distinguished."""

_CHECKS = {
    "length_correlation": (
        "max_length_correlation",
        "marks go with length: their correlation within tasks is",
    ),
    "frac_identical": (
        "max_identical_fraction",
        "samples repeat each other: the share that has a twin is",
    ),
    "frac_ceiling": (
        "max_ceiling_fraction",
        f"marks are at the ceiling: the share of {CEILING} or more is",
    ),
    "frac_memorized": (
        "max_memorized_fraction",
        "samples hold a table of their tests' inputs and results: their share is",
    ),
    "kl": ("max_kl", "the policy runs away from its reference: the KL in nats per token is"),
}
"""By metric: its limit in `rlaif`, and what it means to be above it."""
AGREEMENT = "teacher_agreement"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A check that struck for the first time; `check` is the metric it looks at."""

    check: str
    text: str


def hacking_metrics(groups: Sequence[Group]) -> Metrics:
    """What the checks look at, of one step, beside its KL."""
    texts = Counter(sample.text.strip() for samples, _ in groups for sample in samples)
    marks = [
        result.score for _, results in groups for result in results if isinstance(result, Scored)
    ]
    return {
        "length_correlation": length_correlation(groups),
        "frac_identical": sum(count for count in texts.values() if count > 1) / texts.total(),
        "frac_memorized": frac_memorized(groups),
        "frac_ceiling": sum(mark >= CEILING for mark in marks) / len(marks) if marks else None,
    }


def frac_memorized(groups: Sequence[Group]) -> float | None:
    """Of the samples of tasks with tests, those that recognize the tests' inputs instead of
    solving the task.
    """
    found = [
        memorizes_tests(sample.text, sample.task.tests)
        for samples, _ in groups
        for sample in samples
        if sample.task.tests
    ]
    return sum(found) / len(found) if found else None


def length_correlation(groups: Sequence[Group]) -> float | None:
    """Pearson's correlation of mark and tokens within tasks: both less their means over the task's
    samples.

    Of what was judged: the heuristic tier rejects what was cut off, so its marks would only say how
    many are. None where lengths or marks do not differ.
    """
    lengths: list[float] = []
    marks: list[float] = []
    for samples, results in groups:
        judged = [
            (len(sample.ids), result.score)
            for sample, result in zip(samples, results, strict=True)
            if isinstance(result, Scored) and result.source is not Source.HEURISTIC
        ]
        lengths += _centred([length for length, _ in judged])
        marks += _centred([mark for _, mark in judged])
    if not any(lengths) or not any(marks):
        return None
    return statistics.correlation(lengths, marks)


def check_step(
    history: Sequence[Metrics], metrics: Metrics, rlaif: Rlaif
) -> tuple[Metrics, list[Alarm]]:
    """The metrics of a step with what the checks add to them, and what they raise.

    `history`: the steps before it.
    """
    metrics = {**metrics, AGREEMENT: teacher_agreement(history, metrics, rlaif)}
    found = alarms([*history, metrics], rlaif)
    return {**metrics, "alarms": [alarm.check for alarm in found]}, found


def teacher_agreement(history: Sequence[Metrics], metrics: Metrics, rlaif: Rlaif) -> float | None:
    """How far the teacher agrees with tests on what it judged for this run in the window's steps
    (agreement_share).

    Of samples that passed, and of those that failed, only if there are `min_agreement_samples`;
    None without either.
    """
    now = metrics.get("judged_and_tested")
    if now is None:
        return None
    window = rlaif.reward_hacking_window
    # the service counts from the start of the run
    before = (history[-window].get("judged_and_tested") if len(history) >= window else None) or {}
    if any(now[name] < count for name, count in before.items()):
        before = {}  # the service has another store than it had then
    counts = TeacherAgreement(**{name: count - before.get(name, 0) for name, count in now.items()})
    return agreement_share(counts, rlaif.min_agreement_samples)


def alarms(history: Sequence[Metrics], rlaif: Rlaif) -> list[Alarm]:
    """What the last step of `history` is the first to bring up, its mean over the window strictly
    above the limit.

    Earlier steps have their `alarms`, so that a resumed run knows which were raised.
    """
    known = {check for line in history[:-1] for check in line["alarms"]}
    found: list[Alarm] = []
    for check, (limit_key, what) in _CHECKS.items():
        limit: float | None = getattr(rlaif, limit_key)
        values = [line[check] for line in history if line.get(check) is not None][
            -rlaif.reward_hacking_window :
        ]
        if limit is None or check in known or len(values) < rlaif.reward_hacking_window:
            continue
        mean = statistics.fmean(values)
        if (abs(mean) if check == "length_correlation" else mean) > limit:
            text = (
                f"{what} {mean:.2f} over {len(values)} steps, above rlaif.{limit_key} ({limit:g})"
            )
            found.append(Alarm(check, text))
    share, least = history[-1].get(AGREEMENT), rlaif.min_teacher_agreement
    if share is not None and least is not None and share < least and AGREEMENT not in known:
        text = (
            f"the teacher agrees with tests on {share:.2f} of what it judged, below "
            "rlaif.min_teacher_agreement"
        )
        found.append(
            Alarm(
                AGREEMENT,
                f"{text} ({least:g}): what it marks without tests may be rewarded wrongly",
            )
        )
    return found


def _centred(values: Sequence[float]) -> list[float]:
    if len(set(values)) < 2:
        return [0.0] * len(
            values
        )  # exactly: what rounding leaves of equal values would correlate with anything
    mean = statistics.fmean(values)
    return [value - mean for value in values]
