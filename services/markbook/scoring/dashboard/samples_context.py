"""Builds the template context of the list of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markbook.contract import Source
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.dashboard import formatting
from markbook.scoring.dashboard.samples_query import SamplesQuery, format_cursor
from markbook.scoring.heuristics.reasons import REASONS
from markbook.scoring.store import (
    MAX_SAMPLES,
    ApiKey,
    ListedSample,
    ListedTask,
    SampleCursor,
    Viewer,
)

TASKS_PER_PAGE = 10
SAMPLES_PER_PAGE = 40
SOURCES = {
    Source.TEACHER.value: "teacher",
    Source.TESTS.value: "tests",
    Source.HEURISTIC.value: "heuristic tier",
}


_OTHER_CODES = {"tests_failed": "A test failed."}


@dataclass(frozen=True, slots=True)
class Item:
    """A sample in a list.

    `id`: its row's key in hex. `why`: a sentence, where a tier decided. `line`: of its code.
    """

    id: str
    score: str
    source: str
    language: str
    runs: str
    at: str
    line: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Group:
    """Samples under one task, or all of a list in one nameless group.

    `more`: how many are not shown.
    """

    task: str
    title: str | None
    count: str
    mean: str
    items: Sequence[Item]
    more: int


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class ListView:
    query: SamplesQuery
    key: ApiKey | None
    groups: Sequence[Group]
    sources: Sequence[Choice]
    languages: Sequence[Choice]
    reasons: Sequence[Choice]
    total: str
    after: str | None
    lists_decided: bool
    keeps: str
    most: str
    store_samples: bool


async def build_list(state: AppState, key: ApiKey | None, query: SamplesQuery) -> ListView:
    """The samples of `query` that `key` may see. Raises StoreUnavailableError."""
    await state.pipeline.ledger.flush()
    await state.pipeline.responses.rejects.flush()
    viewer, samples = Viewer(key), state.store.samples
    facets = await samples.facets(viewer, query.run or None)
    reasons = _count((each.reason, each.count) for each in facets if each.reason is not None)
    groups, last = await (_by_task if query.is_by_task else _flat)(state, viewer, query)
    config = state.config.store
    return ListView(
        query=query,
        key=key,
        groups=groups,
        sources=_choices(
            query.source, _count((each.source, each.count) for each in facets), SOURCES
        ),
        languages=_choices(query.language, _count((each.language, each.count) for each in facets)),
        reasons=_choices(query.reason, reasons, {code: code.replace("_", " ") for code in reasons}),
        total=formatting.count(sum(each.count for each in facets)),
        after=None if last is None else query.link(after=format_cursor(last)),
        lists_decided=samples.lists_decided,
        keeps=formatting.count(config.keep_rejects),
        most=formatting.count(MAX_SAMPLES),
        store_samples=config.store_samples,
    )


async def _by_task(
    state: AppState, viewer: Viewer, query: SamplesQuery
) -> tuple[list[Group], SampleCursor | None]:
    found = await state.store.samples.tasks(
        viewer, query.filter(), TASKS_PER_PAGE + 1, query.cursor()
    )
    shown = found[:TASKS_PER_PAGE]
    last = SampleCursor(shown[-1].value, shown[-1].task) if len(found) > TASKS_PER_PAGE else None
    return [_group(each) for each in shown], last


async def _flat(
    state: AppState, viewer: Viewer, query: SamplesQuery
) -> tuple[list[Group], SampleCursor | None]:
    found = await state.store.samples.latest(
        viewer, query.filter(), SAMPLES_PER_PAGE + 1, query.cursor()
    )
    shown = found[:SAMPLES_PER_PAGE]
    last = shown[-1].cursor(query.sort) if len(found) > SAMPLES_PER_PAGE else None
    return ([Group("", None, "", "", [item(each) for each in shown], 0)] if shown else []), last


def _group(found: ListedTask) -> Group:
    return Group(
        found.task.hex(),
        None if found.text is None else formatting.visible(found.text),
        formatting.count(found.count),
        formatting.NONE if found.mean is None else f"{found.mean:.2f}",
        [item(each) for each in found.samples],
        found.count - len(found.samples),
    )


def item(sample: ListedSample) -> Item:
    return Item(
        sample.key.hex(),
        formatting.NONE if sample.score is None else f"{sample.score:.2f}",
        SOURCES[sample.source],
        formatting.visible(sample.language),
        ", ".join(sorted(sample.runs)),
        formatting.format_time(sample.at_ms),
        None if sample.first_line is None else formatting.visible(sample.first_line),
        explain_codes(sample.reasons),
    )


def explain_codes(codes: Sequence[str]) -> str:
    """A sentence for each code of the heuristic tier; what another version has stored is shown
    as it is.
    """
    return " ".join(
        REASONS[code][1] if code in REASONS else _OTHER_CODES.get(code, code) for code in codes
    )


def _count(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, count in pairs:
        counts[name] += count
    return counts


def _choices(
    chosen: str, counts: Counter[str], names: dict[str, str] | None = None
) -> list[Choice]:
    """The most frequent first; the chosen one also without any sample."""
    known = [
        *(name for name, _ in counts.most_common()),
        *([] if not chosen or chosen in counts else [chosen]),
    ]
    return [
        Choice(
            name,
            f"{formatting.visible((names or {}).get(name, name))} "
            f"({formatting.count(counts[name])})",
            name == chosen,
        )
        for name in known
    ]
