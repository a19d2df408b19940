"""Marks stored samples again under another teacher, and compares the scores.

The old marks stay as they are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markbook.config.loading import ConfigError
from markbook.config.settings import Budget, Config
from markbook.contract import Result, Scored, Source, Unscored
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.paired_scores import (
    GroupCounts,
    ScorePair,
    compare_scores,
    count_groups,
)
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.judging.marking import Marking
from markbook.scoring.judging.stored_samples import KeptSample
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.profile_inputs import mark_identity
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.scoring.store import OWNER, MarkFilter, Record, RetentionPolicy, Store
from markbook.scoring.store.settlement import run_scope
from markbook.scoring.teachers import make_teacher

NO_TEXTS = "no texts are stored"
READ_DIFFERENTLY = "the code would be read differently when sent again"


@dataclass(frozen=True, slots=True)
class StoredSample(KeptSample):
    """A kept sample, and which mark it is of.

    `score`: by the weights of the rubric that old marks are read with.
    """

    key: str
    run: str
    created_ms: int
    group_id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """`tasks`, `groups`: of each sample, from 0; a group was given to the old teacher together.

    `left_out`: by why.
    """

    profile: str
    samples: Sequence[StoredSample]
    tasks: Sequence[int]
    groups: Sequence[int]
    left_out: Mapping[str, int]

    @property
    def task_count(self) -> int:
        return max(self.tasks, default=-1) + 1


@dataclass(frozen=True, slots=True)
class RescoreReport:
    """`results`: the new mark of each sample, in order.

    `pairs`: those that have one. `usd`: what was paid now.
    """

    selection: Selection
    profile: str
    results: Sequence[Result]
    pairs: Sequence[ScorePair]
    figures: Mapping[str, Figure]
    groups: GroupCounts
    by_source: Mapping[Source, int]
    unscored: Mapping[str, int]
    usd: float | None


def find_profile(config: Config) -> str:
    """The profile of a configuration's marks.

    Raises ConfigError where its teacher cannot be set up.
    """

    async def work() -> str:
        rubric = load_rubric(config.teacher.rubric)
        teacher = make_teacher(config, rubric)
        try:
            return hash_profile(mark_identity(config, teacher, rubric))
        finally:
            await teacher.close()

    return asyncio.run(work())


def select_marks(
    config: Config, profile: str, chosen: MarkFilter, language: str | None, limit: int | None
) -> Selection:
    """The stored marks that the filter lets through; of more than `limit` the newest.

    Read with the rubric of `config`. Raises ConfigError where there is no such mark, or one has
    other criteria.
    """
    rubric = load_rubric(config.teacher.rubric)
    store = open_store(config)
    try:
        records = [
            each
            for each in store.records.matching(profile, chosen)
            if language is None or each.mark.fingerprint.language == language
        ]
        if not records:
            known = ", ".join(each.id for each in store.records.profiles())
            raise ConfigError(
                f"{store.where} has no such marks of profile {profile}; it has profiles "
                f"{known or 'of no marks'}"
            )
    finally:
        asyncio.run(store.close())
    records.sort(key=_newest_first)
    return _selection(profile, records[:limit], rubric)


def open_store(config: Config) -> Store:
    """The store of `config`, migrated."""
    store = Store(
        config.store.database_url,
        round(config.store.claim_lease_s * 1000),
        RetentionPolicy.of(config.store),
    )
    store.migrate()
    return store


def limit_spending(config: Config, run: str, usd: float) -> Config:
    """`config` with a budget for `run` that leaves `usd` dollars, or fewer where its own leaves
    fewer.
    """
    store = open_store(config)

    async def spent_nusd() -> int:
        try:
            return (await store.money.spent(OWNER)).get(run_scope(run), (0, 0))[0]
        finally:
            await store.close()

    limit = asyncio.run(spent_nusd()) / 1e9 + usd
    own = config.budgets.of_run(run)
    budget = Budget(usd=limit if own.usd is None else min(limit, own.usd), tokens=own.tokens)
    budgets = config.budgets.model_copy(update={"runs": {**config.budgets.runs, run: budget}})
    return config.model_copy(update={"budgets": budgets})


def report_on(
    selection: Selection, marking: Marking, *, resamples: int, seed: int
) -> RescoreReport:
    """Old and new scores side by side.

    Both are the teachers' own: no tests decide the correctness of either.
    """
    pairs = [
        ScorePair(
            index,
            selection.tasks[index],
            selection.groups[index],
            selection.samples[index].score,
            result.score,
        )
        for index, result in enumerate(marking.results)
        if isinstance(result, Scored)
    ]
    dollars = [usage.cost_usd for usage in marking.usage]
    return RescoreReport(
        selection=selection,
        profile=marking.profile,
        results=marking.results,
        pairs=pairs,
        figures=compare_scores(pairs, tasks=selection.task_count, resamples=resamples, seed=seed),
        groups=count_groups(pairs),
        by_source=Counter(
            result.source for result in marking.results if isinstance(result, Scored)
        ),
        unscored=Counter(
            result.error.code.value for result in marking.results if isinstance(result, Unscored)
        ),
        usd=None if None in dollars else sum(cost for cost in dollars if cost is not None),
    )


def _selection(profile: str, records: Sequence[Record], rubric: Rubric) -> Selection:
    samples: list[StoredSample] = []
    left_out: Counter[str] = Counter()
    for record in records:
        mark = record.mark
        if mark.criteria.keys() != rubric.criteria.keys():
            raise ConfigError(
                f"the marks of profile {profile} have the criteria {', '.join(mark.criteria)}, "
                f"the rubric of --config {', '.join(rubric.criteria)}: give the configuration "
                "that they were made with"
            )
        language = mark.fingerprint.language
        if mark.texts is None:
            left_out[NO_TEXTS] += 1
        elif extract(mark.texts.code, language)[0] != mark.texts.code:
            left_out[READ_DIFFERENTLY] += 1
        else:
            texts, score = mark.texts, rubric.score(mark.criteria)
            key, run, at_ms = mark.fingerprint.key, record.run, record.created_ms
            samples.append(
                StoredSample(
                    texts.task,
                    language,
                    texts.code,
                    mark.criteria,
                    score,
                    key,
                    run,
                    at_ms,
                    record.group_id,
                )
            )
    tasks: dict[tuple[str, str], int] = {}
    groups: dict[str, int] = {}
    return Selection(
        profile,
        samples,
        [tasks.setdefault((each.prompt, each.language), len(tasks)) for each in samples],
        [groups.setdefault(each.group_id, len(groups)) for each in samples],
        left_out,
    )


def _newest_first(record: Record) -> tuple[int, bytes]:
    return -record.created_ms, record.mark.fingerprint.row
