"""What `markbook judge` reports: the figures of each teacher, comparisons, and the cheapest of
the best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markbook.config.settings import Config
from markbook.contract import Result, Scored, Source, Unscored
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Choice, Comparison, choose, compare
from markbook.scoring.evaluation.judge_metrics import evaluate, per_auc_point
from markbook.scoring.evaluation.samples import JudgedSample, TaskCost
from markbook.scoring.judging.costs import estimate_cost
from markbook.scoring.judging.labelled import LabelledSample, Truth
from markbook.scoring.judging.marking import Marking


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """Samples with their truths and tasks, each list in the order of the file."""

    samples: Sequence[LabelledSample]
    truths: Sequence[Truth]
    tasks: Sequence[int]

    @property
    def task_count(self) -> int:
        return max(self.tasks) + 1


@dataclass(frozen=True, slots=True)
class TeacherReport:
    """`cost_is_estimated`: all marks of a paid teacher were cached, so that the cost is a
    forecast.
    """

    name: str
    config: Config
    profile: str
    figures: Mapping[str, Figure]
    samples: Sequence[JudgedSample]
    by_source: Mapping[Source, int]
    unscored: Mapping[str, int]
    unscored_repeats: Mapping[str, int]
    usd: float | None
    cost_is_estimated: bool


@dataclass(frozen=True, slots=True)
class Report:
    teachers: Sequence[TeacherReport]
    comparisons: Sequence[Comparison]
    choice: Choice | None


def report_on(
    name: str,
    config: Config,
    file: LabelledFile,
    markings: Sequence[Marking],
    *,
    resamples: int,
    seed: int,
) -> TeacherReport:
    """The figures of one teacher. `markings`: the first marks, then the repeats."""
    first, *repeats = markings
    samples = _judged(file, markings, is_shuffled=config.teacher.shuffle_group)
    figures = evaluate(
        samples, _costs(file, first), tasks=file.task_count, resamples=resamples, seed=seed
    )
    cached = [index for index, result in enumerate(first.results) if result.source is Source.CACHE]
    is_estimated = bool(cached) and not any(
        result.source is Source.TEACHER for result in first.results
    )
    if is_estimated:
        figures = {**figures, **_estimated(config, file, cached, figures["auc"].value, first)}
    dollars = [usage.cost_usd for marking in markings for usage in marking.usage]
    return TeacherReport(
        name=name,
        config=config,
        profile=first.profile,
        figures=figures,
        samples=samples,
        by_source=Counter(result.source for result in first.results if isinstance(result, Scored)),
        unscored=_reasons(first.results),
        unscored_repeats=sum((_reasons(each.results) for each in repeats), Counter[str]()),
        usd=None if None in dollars else sum(cost for cost in dollars if cost is not None),
        cost_is_estimated=is_estimated and config.teacher.name != "static",
    )


def compare_teachers(
    teachers: Sequence[TeacherReport], *, tasks: int, resamples: int, seed: int
) -> Report:
    """The reports with every pair compared, and the choice among them."""
    samples = {each.name: each.samples for each in teachers}
    comparisons = compare(samples, tasks=tasks, resamples=resamples, seed=seed)
    aucs = {each.name: each.figures["auc"].value for each in teachers}
    prices = {each.name: each.figures["usd_per_1000"].value for each in teachers}
    return Report(teachers, comparisons, choose(aucs, prices, comparisons))


def _judged(
    file: LabelledFile, markings: Sequence[Marking], *, is_shuffled: bool
) -> list[JudgedSample]:
    """The samples that have a score; a repeat without one is left out of the sample's repeats."""
    samples: list[JudgedSample] = []
    first, *repeats = markings
    for index, result in enumerate(first.results):
        if not isinstance(result, Scored):
            continue
        truth = file.truths[index]
        # in the order of the file a place may depend on the truth
        shown = first.shown[index] if is_shuffled and first.shown else None
        sample = JudgedSample(
            index, file.tasks[index], truth.value, truth.is_right, result.score, shown=shown
        )
        again = [each.results[index] for each in repeats]
        samples.append(
            replace(sample, repeats=tuple(each.score for each in again if isinstance(each, Scored)))
        )
    return samples


def _costs(file: LabelledFile, marking: Marking) -> list[TaskCost]:
    sources: list[Counter[Source | None]] = [Counter() for _ in range(file.task_count)]
    for task, result in zip(file.tasks, marking.results, strict=True):
        sources[task][result.source] += 1
    costs: list[TaskCost] = []
    for task, (counts, usage) in enumerate(zip(sources, marking.usage, strict=True)):
        sent = (
            usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        )
        scored = counts.total() - counts[None]
        costs.append(
            TaskCost(
                task,
                sent + usage.output_tokens,
                usage.cost_usd,
                scored,
                judged=counts[Source.TEACHER],
                cached=counts[Source.CACHE],
            )
        )
    return costs


def _estimated(
    config: Config, file: LabelledFile, cached: Sequence[int], auc: float | None, marking: Marking
) -> dict[str, Figure]:
    """The figures of cost where every mark of the teacher was cached.

    Without intervals: nothing was observed.
    """
    expected = estimate_cost(config, file.samples, file.tasks, cached)
    scored = sum(isinstance(result, Scored) for result in marking.results)
    is_free = config.teacher.name == "static"
    tokens = 0.0 if is_free else 1000 * (expected.tokens.sent + expected.tokens.output) / scored
    usd = 0.0 if is_free else None if expected.usd is None else 1000 * expected.usd / scored
    return {
        "tokens_per_1000": Figure(tokens),
        "usd_per_1000": Figure(usd),
        "usd_per_auc_point": Figure(per_auc_point(usd, auc)),
    }


def _reasons(results: Sequence[Result]) -> Counter[str]:
    return Counter(result.error.code.value for result in results if isinstance(result, Unscored))
