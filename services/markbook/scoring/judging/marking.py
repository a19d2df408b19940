"""Marks samples with one configuration: the whole service, in this process, without its HTTP
server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from markbook.config.settings import Config
from markbook.contract import Batch, BatchState, RequestUsage, Result, Sample, ScoreRequest
from markbook.scoring.api.dependencies import AppState
from markbook.scoring.app import create_app
from markbook.scoring.concurrency import gather_all
from markbook.scoring.evaluation.samples import Shown
from markbook.scoring.judging.labelled import HasTask, number_tasks
from markbook.scoring.pipeline.batches import LOOK_S
from markbook.scoring.pipeline.preparation import prepare_samples
from markbook.scoring.pipeline.results import sum_usage
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import OWNER
from markbook.scoring.teachers import make_teacher
from markbook.scoring.teachers.protocol import Teacher, WrappedTeacher
from markbook.scoring.types import TeacherCall


@dataclass(frozen=True, slots=True)
class Marking:
    """`results` by sample, in order; `usage` by task: what its marks cost now. `shown`: where each
    sample was in the request that it was judged in, None for those that no teacher has judged.
    """

    results: Sequence[Result]
    usage: Sequence[RequestUsage]
    profile: str
    shown: Sequence[Shown | None] = ()


class CodeSample(HasTask, Protocol):
    """What is marked: code for a task. Its truth, where it has one, is not looked at here."""

    @property
    def code(self) -> str: ...


class RepeatedTeacher(WrappedTeacher):
    """A teacher whose marks count as those of another one: a repeat is stored, and never served
    as the first mark.
    """

    def __init__(self, teacher: Teacher, repeat: int) -> None:
        super().__init__(teacher)
        self._repeat = repeat

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "repeat": self._repeat}


def in_batches(config: Config) -> Config:
    """The configuration with `teacher.batch`."""
    return config.model_copy(update={"teacher": config.teacher.model_copy(update={"batch": "on"})})


async def find_missing(config: Config, samples: Sequence[CodeSample], repeat: int) -> list[int]:
    """The samples whose mark is not in the store yet, by index. `repeat`: 0 for the first marks."""
    async with open_service(config, repeat) as state:
        items = await prepare_samples(
            [_sample(each) for each in samples], state.pipeline.profile, use_tests=False
        )
        stored = await state.store.marks.get([item.print for item in items], state.clock_ms())
        return [index for index, item in enumerate(items) if item.print.digest not in stored]


async def mark_samples(
    config: Config,
    samples: Sequence[CodeSample],
    tasks: Sequence[int],
    *,
    run: str,
    repeat: int,
    on_marked: Callable[[int], None],
) -> Marking:
    """One result per sample.

    A request has at most `teacher.max_group_size` samples of one task, without their tests.

    `tasks`: the task of each sample, from 0 without a gap; samples of one task may have several
    numbers, and are then not shown together. `on_marked` is called with the number of samples of
    each finished request. With `teacher.batch` the samples are batches instead, which other
    processes on the same store may continue.

    Raises ConfigError, StoreUnavailableError, and what else ends the service; a failed call is an
    unscored result.
    """
    requests = split_by_task(tasks, config.teacher.max_group_size)
    async with open_service(config, repeat) as state:
        if config.teacher.batch == "on":
            return await _mark_in_batches(state, samples, tasks, run, on_marked)
        # A request is one call, and no more are sent than may be in progress: in the teacher's
        # queue, or in the service's, the calls of a task with many samples would spend
        # teacher.timeout_s on waiting.
        slots = asyncio.Semaphore(
            min(config.teacher.max_concurrency, config.service.max_concurrent_requests)
        )

        async def score(indices: Sequence[int]) -> tuple[Sequence[Result], RequestUsage]:
            request = ScoreRequest(run=run, samples=[_sample(samples[index]) for index in indices])
            async with slots:
                response = await state.pipeline.score(request)
            on_marked(len(indices))
            return response.results, response.usage

        responses = await gather_all([score(indices) for indices in requests])
        results: dict[int, Result] = {}
        usage: list[list[RequestUsage]] = [[] for _ in range(max(tasks) + 1)]
        for indices, (some_results, some_usage) in zip(requests, responses, strict=True):
            results.update(zip(indices, some_results, strict=True))
            usage[tasks[indices[0]]].append(some_usage)
        ordered = [results[index] for index in range(len(samples))]
        shown = await _find_places(state, samples)
        return Marking(ordered, [add_usage(each) for each in usage], state.pipeline.profile, shown)


async def _find_places(state: AppState, samples: Sequence[CodeSample]) -> list[Shown | None]:
    """From the store, so that those of cached marks are known as well."""
    items = await prepare_samples(
        [_sample(each) for each in samples], state.pipeline.profile, use_tests=False
    )
    rows = [item.print.row for item in items]
    places = await asyncio.to_thread(state.store.records.places, sorted(set(rows)))
    found: list[Shown | None] = []
    for row in rows:
        if row in places:
            group, place, size = places[row]
            found.append(
                Shown(f"{group} of {size}", place)
            )  # a sample that was retried alone is in no group
        else:
            found.append(None)
    return found


def split_by_task(tasks: Sequence[int], most: int) -> list[list[int]]:
    """Indices into `tasks`, at most `most` together and never of two tasks, in the order of
    tasks and samples.
    """
    by_task: list[list[int]] = [[] for _ in range(max(tasks) + 1)]
    for index, task in enumerate(tasks):
        by_task[task].append(index)
    return [
        indices[start : start + most]
        for indices in by_task
        for start in range(0, len(indices), most)
    ]


def split_into_batches(
    samples: Sequence[HasTask], tasks: Sequence[int], most: int
) -> list[list[int]]:
    """Indices of the samples of each batch, at most `most`.

    A batch shows samples of one prompt and language together. Where these have several numbers in
    `tasks`, each number is in another batch, so that the samples shown together are those with the
    same number.
    """
    prompts = number_tasks(samples)
    numbers: dict[int, list[int]] = {}
    layers: list[list[int]] = []
    for index, (prompt, task) in enumerate(zip(prompts, tasks, strict=True)):
        known = numbers.setdefault(prompt, [])
        if task not in known:
            known.append(task)
        layer = known.index(task)
        if layer == len(layers):
            layers.append([])
        layers[layer].append(index)
    return [layer[start : start + most] for layer in layers for start in range(0, len(layer), most)]


def add_usage(usage: Sequence[RequestUsage]) -> RequestUsage:
    """What several requests have used together.

    The cost is unknown where that of one of them is.
    """
    costs = [each.cost_usd for each in usage]
    return RequestUsage(
        teacher_calls=sum(each.teacher_calls for each in usage),
        input_tokens=sum(each.input_tokens for each in usage),
        output_tokens=sum(each.output_tokens for each in usage),
        cache_read_input_tokens=sum(each.cache_read_input_tokens for each in usage),
        cache_creation_input_tokens=sum(each.cache_creation_input_tokens for each in usage),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


async def _mark_in_batches(
    state: AppState,
    samples: Sequence[CodeSample],
    tasks: Sequence[int],
    run: str,
    on_marked: Callable[[int], None],
) -> Marking:
    batches: list[tuple[list[int], Batch]] = []
    for indices in split_into_batches(samples, tasks, state.config.service.max_samples_per_batch):
        part = [_sample(samples[index]) for index in indices]
        batches.append(
            (indices, await state.batches.submit(ScoreRequest(run=run, samples=part), None))
        )
    items = await prepare_samples(
        [_sample(each) for each in samples], state.pipeline.profile, use_tests=False
    )
    task_of = {item.print.digest: task for item, task in zip(items, tasks, strict=True)}
    results: dict[int, Result] = {}
    calls: dict[int, list[TeacherCall]] = {}
    for indices, batch in batches:
        ended = await _end(state, batch)
        results.update(zip(indices, ended.results or [], strict=True))
        on_marked(ended.samples)
        for digests, call in await state.store.batches.bills(
            batch.id
        ):  # a request has samples of one task
            calls.setdefault(task_of[digests[0]], []).append(call)
    usage = [sum_usage(calls.get(task, [])) for task in range(max(tasks) + 1)]
    ordered = [results[index] for index in range(len(samples))]
    return Marking(ordered, usage, state.pipeline.profile, await _find_places(state, samples))


async def _end(state: AppState, batch: Batch) -> Batch:
    """The batch once it has ended."""
    while batch.state is not BatchState.ENDED:
        await asyncio.sleep(min(LOOK_S, state.config.teacher.batch_poll_s))
        newer = await state.batches.get(OWNER, batch.id)
        assert newer is not None
        batch = newer
    return batch


@asynccontextmanager
async def open_service(config: Config, repeat: int = 0) -> AsyncIterator[AppState]:
    """The service's parts, started and stopped in their order."""
    teacher: Teacher = make_teacher(config, load_rubric(config.teacher.rubric))
    if repeat:
        teacher = RepeatedTeacher(teacher, repeat)
    app = create_app(config, teacher)
    async with app.router.lifespan_context(app):
        state = app.state.markbook
        assert isinstance(state, AppState)
        yield state


def _sample(sample: CodeSample) -> Sample:
    """Without its tests: they would decide the mark that is to be measured."""
    return Sample(prompt=sample.prompt, language=sample.language, code=sample.code)
