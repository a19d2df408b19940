"""Marks that a store holds, as samples to be marked again under another rubric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.contract import Result, Scored
from markbook.scoring.judging.labelled import number_tasks
from markbook.scoring.judging.marking import open_service
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store import MAX_MARKS, OWNER, Record


@dataclass(frozen=True, slots=True)
class KeptSample:
    """A sample with the mark that is stored of it: its criteria, and the score by the weights of
    their rubric.
    """

    prompt: str
    language: str
    code: str
    criteria: Mapping[str, float]
    score: float


@dataclass(frozen=True, slots=True)
class TriedSample:
    """A kept sample and its result under the other rubric."""

    kept: KeptSample
    result: Result

    @property
    def change(self) -> float | None:
        """New score less old one; None where the sample is unscored."""
        return self.result.score - self.kept.score if isinstance(self.result, Scored) else None


async def read_latest(
    config: Config, rubric: Rubric, count: int, run: str | None
) -> list[KeptSample]:
    """The latest `count` marks of this configuration with their texts, those of one task together.

    `run`: only marks that it paid for or received. Raises ConfigError without any.
    """
    async with open_service(config) as state:
        profile = state.pipeline.profile

        def is_usable(record: Record) -> bool:
            return record.mark.texts is not None and record.mark.fingerprint.profile == profile

        found = await state.store.page.latest(OWNER, count, is_usable, run=run)
        where = state.store.where
    kept: list[KeptSample] = []
    for paid in found.marks:
        mark = paid.record.mark
        assert mark.texts is not None
        language = mark.fingerprint.language
        kept.append(
            KeptSample(
                mark.texts.task,
                language,
                mark.texts.code,
                mark.criteria,
                rubric.score(mark.criteria),
            )
        )
    if not kept:
        of_run = f" of run {run}" if run else ""
        raise ConfigError(
            f"{where} has no mark{of_run} with its text under the configured teacher and rubric "
            f"(profile {profile}), among the latest {MAX_MARKS:,}"
        )
    return _by_task(kept)


def _by_task(kept: Sequence[KeptSample]) -> list[KeptSample]:
    numbered = sorted(zip(number_tasks(kept), range(len(kept)), strict=True))
    return [kept[index] for _, index in numbered]
