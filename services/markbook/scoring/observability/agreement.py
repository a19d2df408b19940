"""Agreement of the teacher with tests: its metrics, and an alarm for runs in which it is low."""

from __future__ import annotations

import logging
from collections import Counter as Totals
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from markbook.config.settings import Rlaif
from markbook.contract import AGREES_FROM, TeacherAgreement, agreement_share
from markbook.scoring.store import HOUR_MS, OWNER, JudgedKind, Rollups, Store

log = logging.getLogger("markbook")

WINDOW_MS = 24 * HOUR_MS
"""Older judgments raise no alarm: minutes are kept for a day."""
_MINUTE_MS = HOUR_MS // 60
AGREES_FROM_PERCENT = round(100 * AGREES_FROM)
_TESTED_LANGUAGES = ("python",)
"""Their series exist from the start, so that a first sample is an increase."""


class Agreement:
    """Samples that both the teacher and their tests have judged.

    Only languages with a sandbox have any.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = Counter(
            "markbook_teacher_agreement_samples",
            "Samples judged by the teacher and by their tests: what the tests showed, and whether "
            "the teacher agrees.",
            ["tests", "teacher", "language"],
            registry=registry,
        )
        self.low_runs = Gauge(
            "markbook_teacher_agreement_low_runs",
            "Runs in which the teacher agrees with tests less than rlaif.min_teacher_agreement.",
            registry=registry,
        )

        for tests in ("passed", "failed"):
            for teacher in ("agrees", "disagrees"):
                for language in _TESTED_LANGUAGES:
                    self._samples.labels(tests, teacher, language)

    def observe(self, kind: JudgedKind) -> None:
        tests = "passed" if kind.passed else "failed"
        teacher = "agrees" if does_agree(kind) else "disagrees"
        self._samples.labels(tests, teacher, kind.language).inc()


def does_agree(kind: JudgedKind) -> bool:
    """Whether the teacher and the tests call the sample the same, right or wrong."""
    return (kind.percent >= AGREES_FROM_PERCENT) == kind.passed


@dataclass(frozen=True, slots=True)
class AgreementAlarm:
    """The newest judgments of `run` agree with its tests below the limit.

    `counts`: what they are.
    """

    run: str
    agreement: float
    limit: float
    counts: TeacherAgreement


class _Seen(NamedTuple):
    """Judged samples of one minute: (passed, agrees) -> samples."""

    at_ms: int
    samples: Totals[tuple[bool, bool]]


class AgreementWatch:
    """Checks each run's newest judgments of the last day, of the current profile.

    Of samples that passed and of those that failed the newest minutes are taken that hold
    `rlaif.min_agreement_samples`; a kind with fewer is left out. A run that falls below
    `rlaif.min_teacher_agreement` is logged once, and again only after it has recovered.
    """

    def __init__(
        self,
        rlaif: Rlaif,
        store: Store,
        profile: str,
        metrics: Agreement,
    ) -> None:
        self._limit = rlaif.min_teacher_agreement
        self._least = rlaif.min_agreement_samples
        self._store = store
        self._profile = bytes.fromhex(profile)
        self._metrics = metrics
        self._low: dict[str, AgreementAlarm] = {}

    @property
    def low(self) -> Mapping[str, AgreementAlarm]:
        """The runs below the limit, by name."""
        return dict(self._low)

    def low_texts(self) -> dict[str, str]:
        """The runs below the limit, and that in words, for alerts."""
        return {run: describe(alarm) for run, alarm in self._low.items()}

    async def check(self, now_ms: int) -> None:
        """Look at the store once. Raises StoreUnavailableError."""
        if self._limit is None:
            return
        sums = await self._store.ledger.judged(OWNER, now_ms - WINDOW_MS, _MINUTE_MS)
        runs = self._newest(sums)
        for run in self._low.keys() - runs.keys():
            del self._low[run]  # nothing judged for a day
        for run, counts in runs.items():
            self._check_run(run, counts, self._limit)
        self._metrics.low_runs.set(len(self._low))

    def _check_run(self, run: str, counts: TeacherAgreement, limit: float) -> None:
        share = agreement_share(counts, self._least)
        if share is None:
            return
        if share >= limit:
            if self._low.pop(run, None):
                log.info("run %s: the teacher agrees with tests again: %.2f", run, share)
            return
        is_new = run not in self._low
        self._low[run] = alarm = AgreementAlarm(run, share, limit, counts)
        if is_new:
            log.warning("run %s: %s", run, describe(alarm))

    def _newest(self, sums: Rollups) -> dict[str, TeacherAgreement]:
        runs: defaultdict[str, list[_Seen]] = defaultdict(list)
        for (at_ms, run), totals in sums.tallies.items():
            samples: Totals[tuple[bool, bool]] = Totals()
            for kind, count in totals.judged.items():
                if kind.profile == self._profile:
                    samples[kind.passed, does_agree(kind)] += count
            if samples:
                runs[run].append(_Seen(at_ms, samples))
        return {
            run: self._counts(sorted(seen, reverse=True, key=_time)) for run, seen in runs.items()
        }

    def _counts(self, newest_first: list[_Seen]) -> TeacherAgreement:
        counts: Totals[tuple[bool, bool]] = Totals()
        for passed in (True, False):
            for seen in newest_first:
                if counts[passed, True] + counts[passed, False] >= self._least:
                    break
                for agrees in (True, False):
                    counts[passed, agrees] += seen.samples[passed, agrees]
        return TeacherAgreement(
            passed=counts[True, True] + counts[True, False],
            passed_agreeing=counts[True, True],
            failed=counts[False, True] + counts[False, False],
            failed_agreeing=counts[False, True],
        )


def describe(alarm: AgreementAlarm) -> str:
    """One line for people."""
    counts = alarm.counts
    return (
        f"the teacher agrees with tests on {alarm.agreement:.2f}, below "
        f"rlaif.min_teacher_agreement ({alarm.limit:g}): it calls {counts.passed_agreeing:,} of "
        f"{counts.passed:,} samples right that passed, and {counts.failed_agreeing:,} of "
        f"{counts.failed:,} wrong that failed"
    )


def _time(seen: _Seen) -> int:
    return seen.at_ms
