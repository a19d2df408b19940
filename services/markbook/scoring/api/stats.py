"""Builds `/stats` and `/stats/series`: the ledger's rollups, their start, and the scoring
profile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from markbook.config.settings import SERVICE_OWNED, Rlaif
from markbook.contract import (
    AgreementStats,
    AuditCount,
    AuditStats,
    Bucket,
    CacheStats,
    Counters,
    ProfileInputs,
    ScoreStats,
    Series,
    SeriesPoint,
    Source,
    Stats,
    TeacherStats,
)
from markbook.scoring.api.agreement_stats import build_agreement, to_agreement
from markbook.scoring.api.budget_stats import read_budget_states
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.errors import BadRequestError
from markbook.scoring.store import (
    HOUR_MS,
    MINUTE_RETENTION_MS,
    ApiKey,
    AuditSum,
    CounterTotals,
    RetentionPolicy,
    Rollups,
    Viewer,
    score_sums,
)
from markbook.scoring.teachers.protocol import Teacher

_BUCKET_MS = {Bucket.MINUTE: HOUR_MS // 60, Bucket.HOUR: HOUR_MS, Bucket.DAY: 24 * HOUR_MS}
_POINTS = 100
_MOST_POINTS = 1_000
_LAST_MS = 253_402_214_400_000  # the last day that ISO 8601 can write with four digits


async def build_stats(
    state: AppState, key: ApiKey | None, run: str | None, since: datetime | None
) -> Stats:
    """The counts from `since` on; from the start of its hour, where that is over a day ago or
    its lines are gone.
    """
    await state.pipeline.ledger.flush()
    viewer = Viewer(key)
    since_ms = 0 if since is None else _counted_from(_unix_ms(since), state)
    sums = await state.store.ledger.sums(viewer, since_ms)
    totals, runs = sum_counters(sums)
    if run is not None:
        runs = {run: runs.get(run, Counters())}
    teacher, rlaif = state.teacher, state.config.rlaif
    audits = await state.store.audits.sums(
        viewer, state.pipeline.profile, rlaif.heuristic_score_threshold
    )
    return Stats(
        totals=totals,
        runs=runs,
        budgets=await read_budget_states(state, key, run),
        cache=await _cache_stats(state, viewer),
        teacher=_teacher_stats(teacher),
        audits=audit_stats(rlaif, audits, is_stub=teacher.is_stub),
        agreement=await agreement_stats(state, viewer, sums, run),
        profile=state.pipeline.profile,
        profile_inputs=ProfileInputs.model_validate(state.pipeline.identity),
        policy={name: getattr(rlaif, name) for name in SERVICE_OWNED},
        since=_iso(since_ms if since is not None else await state.store.ledger.opened_ms()),
    )


async def build_series(
    state: AppState, key: ApiKey | None, run: str | None, since: datetime | None, bucket: Bucket
) -> Series:
    """The counts by bucket and run. Raises BadRequestError when that would be too many buckets."""
    await state.pipeline.ledger.flush()
    viewer = Viewer(key)
    step, now_ms = _BUCKET_MS[bucket], state.clock_ms()
    asked_ms = now_ms - (_POINTS - 1) * step if since is None else _unix_ms(since)
    first_ms = asked_ms - asked_ms % step
    if (now_ms - first_ms) // step >= _MOST_POINTS:
        detail = (
            f"more than {_MOST_POINTS:,} buckets of a {bucket.value}: take a larger bucket or "
            "a later since"
        )
        raise BadRequestError(detail, field="since")
    sums = await state.store.ledger.sums(viewer, first_ms, step, run)
    points: defaultdict[int, dict[str, Counters]] = defaultdict(dict)
    for (start, name), tally in sorted(sums.tallies.items()):
        points[start][name] = to_counters(tally)
    return Series(
        since=_iso(first_ms),
        bucket=bucket,
        points=[SeriesPoint(bucket_start=_iso(start), runs=runs) for start, runs in points.items()],
    )


async def agreement_stats(
    state: AppState, viewer: Viewer, sums: Rollups, run: str | None
) -> AgreementStats:
    """How far teachers agree with tests, of what is in `sums`."""
    profiles = (
        await state.store.records.read_profiles()
        if any(each.judged for each in sums.tallies.values())
        else []
    )
    low = [name for name in state.agreement.low if viewer.may_use(name) and run in (None, name)]
    return build_agreement(state.config.rlaif, sums, profiles, low, run)


async def _cache_stats(state: AppState, viewer: Viewer) -> CacheStats | None:
    size = await state.store.marks.size(viewer)
    if size is None:
        return None
    entries, taken = size
    limits = state.config.store
    return CacheStats(
        entries=entries,
        bytes=taken,
        max_entries=limits.cache_max_entries,
        max_age_days=limits.cache_max_age_days,
    )


def _teacher_stats(teacher: Teacher) -> TeacherStats:
    outage = teacher.outage()
    return TeacherStats(
        name=teacher.name,
        model=teacher.model,
        is_stub=teacher.is_stub,
        description=teacher.description,
        down_since=_iso(round(outage.since_s * 1000)) if outage else None,
        down_cause=outage.cause if outage else None,
    )


def _counted_from(since_ms: int, state: AppState) -> int:
    kept_ms = min(
        MINUTE_RETENTION_MS,
        RetentionPolicy.of(state.config.store).lines_max_age_ms or MINUTE_RETENTION_MS,
    )
    if since_ms >= state.clock_ms() - kept_ms:
        return since_ms
    return since_ms - since_ms % HOUR_MS


def _unix_ms(at: datetime) -> int:
    """A time without a zone is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(round(aware.timestamp() * 1000), 0), _LAST_MS)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def sum_counters(sums: Rollups) -> tuple[Counters, dict[str, Counters]]:
    """Totals, and counters by run, over the whole time of `sums`."""
    runs: defaultdict[str, CounterTotals] = defaultdict(CounterTotals)
    total = CounterTotals()
    for (_, run), tally in sorted(sums.tallies.items()):
        runs[run].add(tally)
        total.add(tally)
    return to_counters(total), {run: to_counters(tally) for run, tally in runs.items()}


def to_counters(tally: CounterTotals) -> Counters:
    """The counters that the wire has."""
    counts = tally.counts
    sent = (
        counts["input_tokens"]
        + counts["cache_read_input_tokens"]
        + counts["cache_creation_input_tokens"]
    )
    by_source = {
        Source(source): sums for source, sums in tally.scores.items() if source != score_sums.ALL
    }
    return Counters(
        samples=counts["samples"],
        by_source={source: counts[source.value] for source in Source},
        scores=to_score_stats(tally.scores[score_sums.ALL]),
        scores_by_source={
            source: to_score_stats(sums) for source, sums in sorted(by_source.items())
        },
        agreement=to_agreement(tally.judged),
        unscored=counts["unscored"],
        unscored_by_code=dict(sorted(tally.failures.items())),
        teacher_calls=counts["calls"] + counts["unknown_calls"],
        api_tokens_sent=sent,
        api_tokens_received=counts["output_tokens"],
        cache_read_input_tokens=counts["cache_read_input_tokens"],
        cache_creation_input_tokens=counts["cache_creation_input_tokens"],
        billed_input_equivalent=counts["billed_utokens"] / 1e6,
        # nothing is saved where the baseline costs nothing: with the stub it is 0 tokens
        tokens_saved=counts["baseline_tokens"] - sent,
        cost_usd=None if counts["unpriced"] else counts["cost_nusd"] / 1e9,
        usage_unknown_calls=counts["unknown_calls"],
        usage_unknown_tokens=counts["unknown_tokens"],
        usage_unknown_cost_usd=None if counts["unknown_unpriced"] else counts["unknown_nusd"] / 1e9,
    )


def to_score_stats(sums: Counter[str]) -> ScoreStats:
    """The distribution of scores by column of score_rollups."""
    mean, std = score_sums.mean_and_std(sums) or (None, None)
    histogram = [sums[name] for name in score_sums.BIN_COLUMNS]
    return ScoreStats(
        count=sum(histogram),
        mean=mean,
        std=std,
        sum=sums[score_sums.SUM] / score_sums.MICRO,
        sum_of_squares=sums[score_sums.SQUARES] / score_sums.NANO,
        histogram=histogram,
    )


def audit_stats(rlaif: Rlaif, sums: Sequence[AuditSum], *, is_stub: bool) -> AuditStats:
    return AuditStats(
        rate=rlaif.heuristic_audit_rate,
        threshold=rlaif.heuristic_score_threshold,
        is_stub=is_stub,
        counts=[AuditCount(**asdict(each)) for each in sums],
    )
