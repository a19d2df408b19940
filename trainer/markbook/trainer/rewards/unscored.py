"""When marks stop: a spent budget ends the run, too many samples without a mark pause it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from markbook.config.settings import Rlaif
from markbook.contract import ErrorCode, Result, Unscored
from markbook.trainer.errors import BudgetExceededError, ServiceTimeoutError
from markbook.trainer.types import Group, Sample

FIRST_PAUSE_S = 5.0
MAX_PAUSE_S = 60.0

Ask = Callable[[int, Sequence[Sample], int], Future[list[Result]]]
"""(place of the group, samples, attempt) -> their results."""


def marked_enough(
    groups: Sequence[Group],
    ask: Ask,
    rlaif: Rlaif,
    log: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Group]:
    """The groups, once no more than `max_unscored_fraction` of their samples lacks a mark.

    Until then the samples without one are asked for again, they alone, for at most
    `service_wait_s`: generating more would be work for nothing. Raises BudgetExceededError as soon
    as one sample was not paid for, ServiceTimeoutError when the time is over.
    """
    groups = list(groups)
    pause, ends = FIRST_PAUSE_S, clock() + rlaif.service_wait_s
    attempt = 1
    while True:
        missing = [
            result.error
            for _, results in groups
            for result in results
            if isinstance(result, Unscored)
        ]
        for error in missing:
            if error.code is ErrorCode.BUDGET_EXHAUSTED:
                raise BudgetExceededError(
                    f"the budget for marks is exhausted: {error.detail}; raise `budgets` at the "
                    "scoring service"
                )
        total = sum(len(samples) for samples, _ in groups)
        if len(missing) <= rlaif.max_unscored_fraction * total:
            if attempt > 1:
                log("scoring has recovered")
            return groups
        ((code, _),) = Counter(error.code.value for error in missing).most_common(1)
        short = f"{len(missing)} of {total} samples have no mark, mostly {code}"
        left = ends - clock()
        if left <= 0:
            raise ServiceTimeoutError(
                f"{short}; gave up after rlaif.service_wait_s ({rlaif.service_wait_s:g} s)"
            )
        if attempt == 1:
            log(f"{short}: paused, retrying for up to {rlaif.service_wait_s:g} s")
        sleep(min(left, max(pause, *(error.retry_after_s or 0.0 for error in missing))))
        pause = min(2 * pause, MAX_PAUSE_S)
        groups = _asked_again(groups, ask, attempt)
        attempt += 1


def _asked_again(groups: Sequence[Group], ask: Ask, attempt: int) -> list[Group]:
    """Ask for the samples without a mark, all groups at once, and put what comes in their place."""
    waiting: list[tuple[list[int], Future[list[Result]] | None]] = []
    for place, (samples, results) in enumerate(groups):
        missing = [k for k, result in enumerate(results) if isinstance(result, Unscored)]
        future = ask(place, [samples[k] for k in missing], attempt) if missing else None
        waiting.append((missing, future))
    merged: list[Group] = []
    for (samples, results), (missing, future) in zip(groups, waiting, strict=True):
        newer = dict(zip(missing, future.result(), strict=True)) if future else {}
        merged.append((samples, [newer.get(k, result) for k, result in enumerate(results)]))
    return merged
