"""What a training run would cost: its requests rendered and counted as the service would, priced as
the provider does.

A forecast is as good as its assumptions, so it is made for several sets of them: the truth should
lie between the ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap

from markbook.config.settings import Config
from markbook.scoring.prompts.prompt import estimate_tokens, render, system_text, truncate_task
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.teachers.anthropic.models import model_facts, thinking_room
from markbook.scoring.teachers.anthropic.pricing import Tokens, cost_usd
from markbook.scoring.teachers.anthropic.reply_parser import reply_tokens

REASON_TOKENS = 25
"""Of a short reason. The marks themselves take two tokens a number (verdict.py)."""

_ROUNDING = 1e-9
"""A share of the samples below this is what is left of 1 less shares that sum to it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: `groups` times one of `tasks`, (prompt, language) each, is given to the student for
    `samples` samples.

    The groups come in `steps`, between which the provider's prompt cache may go cold. `tested`:
    share of the tasks that have tests.
    """

    tasks: Sequence[tuple[str, str]]
    groups: int
    samples: int
    steps: int
    tested: float = 0.0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """`code_tokens`: mean of a sample, as the teacher counts. `rejected`: share of the samples that
    the heuristic tier marks. `failed`: share that a failed test marks. `reused`: share of the
    others whose mark is stored. `text_factor`: true tokens of rubric and tasks over the estimate.
    `rubric_writes`: calls that write it to the prompt cache. `room_used`: 0: replies are as short
    as they can be, and nothing is thought; 1: they take all the room they are given, for thinking
    too where it has any.
    """

    code_tokens: float
    rejected: float
    reused: float
    text_factor: float
    rubric_writes: int
    room_used: float
    failed: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Means, so not in whole numbers. `usd` is None when the model's price is not known."""

    judged: float
    calls: float
    tokens: Tokens
    usd: float | None


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls of one kind for one task: sums over them.

    `text`: tokens of the messages, `output`: of the replies.
    """

    judged: float
    calls: float
    text: float
    output: float


def forecast(plan: Plan, assumed: Assumptions, config: Config, rubric: Rubric) -> Forecast:
    """The sums over the run. Failed and repeated calls are not included: errors are not billed."""
    shares = [share for share in _shares(assumed, config) if share > _ROUNDING]
    kinds = [_calls(plan, share, assumed, config, rubric) for share in shares]
    if not kinds:
        return Forecast(0, 0, Tokens(), 0.0)
    judged, calls = sum(each.judged for each in kinds), sum(each.calls for each in kinds)
    text = sum(each.text for each in kinds) / calls
    output = sum(each.output for each in kinds) / calls
    return _price(plan.groups * judged, plan.groups * calls, text, output, assumed, config, rubric)


def _shares(assumed: Assumptions, config: Config) -> tuple[float, float, float]:
    """The shares of the samples that are judged: for their marks, and in the audits of both tiers.

    Audits have calls of their own. Batches have no audits.
    """
    rlaif = config.rlaif
    left = max(0.0, 1 - assumed.rejected - assumed.failed) * (1 - assumed.reused)
    if rlaif.tests_policy == "only":  # no mark is the teacher's
        left = 0.0
    if is_batched(config):
        return left, 0.0, 0.0
    rejected = assumed.rejected * rlaif.heuristic_audit_rate
    return left, rejected, assumed.failed * rlaif.tests_audit_rate


def _calls(
    plan: Plan, share: float, assumed: Assumptions, config: Config, rubric: Rubric
) -> _Calls:
    """For one group of the plan, of whose samples `share` is judged."""
    judged = plan.samples * share
    calls = math.ceil(judged / config.teacher.max_group_size) * (1 - (1 - share) ** plan.samples)
    together = judged / calls
    shown = [""] * math.ceil(together)
    texts = [_text_tokens(config, task, shown) for task in plan.tasks]
    text = assumed.text_factor * sum(texts) / len(texts) + together * assumed.code_tokens
    output = _output_tokens(together, assumed, config, rubric)
    return _Calls(judged, calls, calls * text, calls * output)


def forecast_groups(
    groups: Sequence[tuple[tuple[str, str], Sequence[str]]],
    assumed: Assumptions,
    config: Config,
    rubric: Rubric,
) -> Forecast:
    """The same for code that is known: ((prompt, language), codes) of each task, all of it judged.

    Of `assumed` only `text_factor`, `rubric_writes` and `room_used` matter.
    """
    size = config.teacher.max_group_size
    text = output = 0.0
    judged = calls = 0
    for task, codes in groups:
        for start in range(0, len(codes), size):
            together = codes[start : start + size]
            text += assumed.text_factor * _text_tokens(config, task, together)
            output += _output_tokens(len(together), assumed, config, rubric)
            judged, calls = judged + len(together), calls + 1
    if not calls:
        return Forecast(0, 0, Tokens(), 0.0)
    return _price(judged, calls, text / calls, output / calls, assumed, config, rubric)


def _price(
    judged: float,
    total: float,
    text: float,
    output: float,
    assumed: Assumptions,
    config: Config,
    rubric: Rubric,
) -> Forecast:
    """`total` calls of `text` tokens besides the rubric, each with `output` tokens of reply."""
    system = assumed.text_factor * estimate_tokens(
        system_text(rubric, explain=config.teacher.explain)
    )
    writes = min(assumed.rubric_writes, total) if is_cached(config, rubric) else 0
    if is_cached(config, rubric):
        hour = (
            config.teacher.batch_cache_ttl if is_batched(config) else config.teacher.cache_ttl
        ) == "1h"
        written = Tokens(
            round(text), round(output), 0, *((0, round(system)) if hour else (round(system), 0))
        )
        kinds = [
            (writes, written),
            (total - writes, Tokens(round(text), round(output), round(system))),
        ]
    else:
        kinds = [(total, Tokens(round(text + system), round(output)))]
    price = config.teacher.price()
    usd = None
    if price is not None:
        factor = price.batch if is_batched(config) else 1.0
        usd = factor * sum(count * cost_usd(tokens, price) for count, tokens in kinds)
    return Forecast(judged, total, _sum(list(starmap(_times, kinds))), usd)


def is_batched(config: Config) -> bool:
    """Whether requests to the teacher are made in batches, at the price of batches."""
    return config.teacher.batch == "on"


def is_cached(config: Config, rubric: Rubric) -> bool:
    """Whether the provider's cache takes the rubric: only as a system prompt, and only from a
    length on.
    """
    floor = model_facts(config.teacher.model).cache_floor
    tokens = estimate_tokens(system_text(rubric, explain=config.teacher.explain)) * 7 // 8
    return config.rlaif.move_rubric_to_system_prompt and (floor is None or tokens >= floor)


def _text_tokens(config: Config, task: tuple[str, str], codes: Sequence[str]) -> int:
    """Of a message for these samples, rendered as it would be sent."""
    rlaif, (prompt, language) = config.rlaif, task
    shown = truncate_task(
        prompt,
        truncate=rlaif.truncate_prompt_for_scoring,
        chars=rlaif.prompt_context_chars,
        policy=rlaif.prompt_context_policy,
    )
    return estimate_tokens(render(shown, language, codes, "#000000"))


def _output_tokens(together: float, assumed: Assumptions, config: Config, rubric: Rubric) -> float:
    criteria, explain = len(rubric.criteria), config.teacher.explain
    least = together * (2 * (criteria + 1) + (REASON_TOKENS if explain else 0))
    most = reply_tokens(math.ceil(together), criteria, explain=explain)
    most += thinking_room(
        model_facts(config.teacher.model).thinking, config.teacher.thinking_tokens
    )
    return least + assumed.room_used * (most - least)


def _times(count: float, tokens: Tokens) -> Tokens:
    return Tokens(*(round(count * kind) for kind in _kinds(tokens)))


def _sum(several: Sequence[Tokens]) -> Tokens:
    return Tokens(*(sum(kinds) for kinds in zip(*map(_kinds, several), strict=True)))


def _kinds(tokens: Tokens) -> tuple[int, ...]:
    return (
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
    )
