"""Builds the template context of one sample's page: why it has its score, and what is beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markbook.contract import DEFAULT_RUN, SampleTests, Source
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.dashboard import formatting
from markbook.scoring.dashboard.explain_cost import explain_cost
from markbook.scoring.dashboard.samples_context import Item, explain_codes, item
from markbook.scoring.dashboard.samples_query import SamplesQuery
from markbook.scoring.pipeline.sample_tests import with_verdict
from markbook.scoring.pipeline.tests_tier import LOWEST
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import ApiKey, Viewer, WholeSample
from markbook.scoring.types import CORRECTNESS, Exchange

BESIDE = 12
_FAILURE = re.compile(r"(?P<test>.*): expected (?P<expected>.*), got (?P<got>.*)", re.DOTALL)
_HIDDEN_SETTINGS = ("system", "messages")


@dataclass(frozen=True, slots=True)
class Criterion:
    """`share`: what it counts of the score, in words; empty where another rubric is in use."""

    name: str
    value: float
    share: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The first failing test.

    `expected` and `got` are empty where it failed in another way, which `test` then says.
    """

    test: str
    expected: str = ""
    got: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a request to explain the mark. `is_pending`: it has not answered yet."""

    is_pending: bool
    reasons: Sequence[str]
    criteria: Sequence[Criterion]
    model: str
    at: str


@dataclass(frozen=True, slots=True)
class ShownExchange:
    settings: str
    system: str
    message: str
    reply: str


@dataclass(frozen=True, slots=True)
class SampleView:
    query: SamplesQuery
    key: ApiKey | None
    shown: Item
    name: str
    profile: str
    why: str
    tests: SampleTests | None
    failure: Failure | None
    criteria: Sequence[Criterion]
    sum: str
    reasons: Sequence[str]
    answer: Answer | None
    cost: str | None
    payer: str
    problem: str | None
    is_stub: bool
    teacher: str
    task: str | None
    code: str | None
    place: int | None
    size: int | None
    together: Sequence[Item]
    others: Sequence[Item]
    previous: str | None
    next: str | None
    exchange: ShownExchange | None
    keeps_exchanges: bool


async def build_sample(
    state: AppState,
    key: ApiKey | None,
    query: SamplesQuery,
    sample: WholeSample,
    problem: str | None = None,
) -> SampleView:
    """`problem`: why an explanation could not be had. Raises StoreUnavailableError."""
    viewer, rubric, listed = Viewer(key), state.pipeline.rubric, sample.listed
    together, others = await state.store.samples.beside(
        viewer, listed.key, listed.task, sample.group, BESIDE
    )
    previous = following = None
    if listed.score is not None or query.sort == "latest":
        shown_at = listed.cursor(query.sort)
        previous, following = await state.store.samples.neighbours(viewer, query.filter(), shown_at)
    decided = with_verdict(sample.criteria, sample.tests) if sample.criteria is not None else None
    return SampleView(
        query=query,
        key=key,
        shown=item(listed),
        name=formatting.visible(sample.name.key),
        profile=sample.name.profile,
        why=_explain(sample, rubric),
        tests=sample.tests,
        failure=_read_failure(sample.tests),
        criteria=_criteria(decided, rubric),
        sum=_sum(decided, rubric),
        reasons=[formatting.visible(each) for each in sample.reasons or ()],
        answer=_answer(sample, rubric),
        cost=_cost(state, sample),
        payer=payer(viewer, sample),
        problem=problem,
        is_stub=state.teacher.is_stub,
        teacher=state.teacher.model,
        task=None if sample.texts is None else formatting.visible(sample.texts.task),
        code=None if sample.texts is None else formatting.visible(sample.texts.code),
        place=sample.place,
        size=sample.size,
        together=[item(each) for each in together],
        others=[item(each) for each in others],
        previous=None if previous is None else previous.hex(),
        next=None if following is None else following.hex(),
        exchange=None if sample.exchange is None else _show(sample.exchange),
        keeps_exchanges=state.config.store.keep_exchanges > 0,
    )


def payer(viewer: Viewer, sample: WholeSample) -> str:
    """The run that an explanation is charged to: the sample's, or one of the viewer's that was
    given its mark.
    """
    if sample.run and viewer.may_use(sample.run):
        return sample.run
    return min(sample.listed.runs, default=DEFAULT_RUN)


def _explain(sample: WholeSample, rubric: Rubric) -> str:
    """Why it has its score, in a sentence or two."""
    source, tests = sample.listed.source, sample.tests
    if source == Source.HEURISTIC:
        return f"Rejected before any teacher was called. {explain_codes(sample.listed.reasons)}"
    if source == Source.TESTS and tests is not None:
        if tests.passed == tests.total:
            return (
                f"All {tests.total} tests passed, and no teacher is called (rlaif.tests_policy: "
                "only)."
            )
        most = max(LOWEST, rubric.criteria.get(CORRECTNESS, LOWEST))
        return (
            f"{tests.total - tests.passed} of {tests.total} tests failed, so no teacher was "
            f"called: the score is between {LOWEST:.2f} and {most:.2f}, by the share of tests "
            "that passed."
        )
    if sample.criteria is None:
        return "The mark is no longer stored."
    if sample.criteria.keys() != rubric.criteria.keys():
        return "Marked by the teacher under another rubric than the one in use."
    return "Marked by the teacher. The score is the sum of the criteria, each times its weight."


def _criteria(values: Mapping[str, float] | None, rubric: Rubric) -> list[Criterion]:
    if values is None:
        return []
    shares = {
        name: f"counts {weight * 100:.3g}{formatting.NBSP}%"
        for name, weight in rubric.criteria.items()
    }
    known = values.keys() == rubric.criteria.keys()
    return [Criterion(name, value, shares[name] if known else "") for name, value in values.items()]


def _sum(values: Mapping[str, float] | None, rubric: Rubric) -> str:
    if values is None or values.keys() != rubric.criteria.keys():
        return ""
    terms = [f"{rubric.criteria[name]:.3g} × {values[name]:.2f}" for name in rubric.criteria]
    return f"{' + '.join(terms)} = {rubric.score(values):.2f}"


def _read_failure(tests: SampleTests | None) -> Failure | None:
    if tests is None or tests.first_failure is None:
        return None
    shown = formatting.visible(tests.first_failure)
    found = _FAILURE.fullmatch(shown)
    return (
        Failure(shown) if found is None else Failure(found["test"], found["expected"], found["got"])
    )


def _answer(sample: WholeSample, rubric: Rubric) -> Answer | None:
    found = sample.explanation
    if found is None:
        return None
    return Answer(
        found.reasons is None,
        [formatting.visible(each) for each in found.reasons or ()],
        _criteria(found.criteria, rubric),
        found.model,
        formatting.format_time(found.at_ms),
    )


def _cost(state: AppState, sample: WholeSample) -> str | None:
    """None where it cannot be asked for: without texts, or when it was."""
    if sample.texts is None or sample.explanation is not None:
        return None
    task = (sample.texts.task, sample.name.language)
    return explain_cost(
        state.config, state.pipeline.rubric, task, sample.texts.code, is_stub=state.teacher.is_stub
    )


def _show(exchange: Exchange) -> ShownExchange:
    """The body of a Messages API request, its texts apart from its settings."""
    request = exchange.request
    system = [block.get("text", "") for block in request.get("system", ())]
    messages = [str(message.get("content", "")) for message in request.get("messages", ())]
    settings = {name: value for name, value in request.items() if name not in _HIDDEN_SETTINGS}
    return ShownExchange(
        json.dumps(settings, sort_keys=True),
        formatting.visible("\n".join(system)),
        formatting.visible("\n".join(messages)),
        formatting.visible(exchange.reply),
    )
