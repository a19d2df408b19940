"""How far a sample's mark moves with its companions, by the size of the groups, for judges that
do and do not care.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from benchmarks.workload import ScoredRequest
from markbook.config.loading import parse_config
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure
from tests.emulator import tokens
from tests.emulator.judges import JUDGES
from tests.emulator.server import Emulator
from tests.fakes import asked

SAMPLES = 24
ROUNDS = 8


async def drifts(emulator: Emulator, answers: Sequence[ScoredRequest]) -> AsyncIterator[str]:
    """A line for each judge and group size.

    Costs are not looked at, so tokens are only estimated.
    """
    codes = [answer.code for answer in answers if answer.fault is None][:SAMPLES]
    rubric = load_rubric()
    config = parse_config({"teacher": {"name": "anthropic", "base_url": emulator.url}})
    teacher = AnthropicTeacher.from_config(config, rubric, {"ANTHROPIC_API_KEY": "none"})
    for judge, size in (("steady", 4), *(("companion_leaning", size) for size in (1, 2, 4, 8))):
        emulator.clear(judge=JUDGES[judge], count=tokens.estimate)
        marks: defaultdict[str, list[float]] = defaultdict(list)
        for group, reply in await _rounds(teacher, codes, size):
            for code, outcome in zip(group.codes, reply, strict=True):
                if not isinstance(outcome, Judgment):
                    raise SystemExit(f"a sample was not marked: {outcome.detail}")
                marks[code].append(rubric.score(outcome.criteria))
        drift = statistics.fmean(statistics.pstdev(each) for each in marks.values())
        yield f"{judge} judge, groups of {size}: {drift:.3f}"
    await teacher.close()


async def _rounds(
    teacher: AnthropicTeacher, codes: Sequence[str], size: int
) -> list[tuple[Group, tuple[Judgment | ScoringFailure, ...]]]:
    """ROUNDS times all codes, in groups that are drawn again each time."""
    draw = random.Random(size)
    groups = []
    for number in range(ROUNDS):
        mixed = draw.sample(codes, len(codes))
        groups += [
            Group(f"{number} {at}", "Write it.", "python", tuple(mixed[at : at + size]))
            for at in range(0, len(mixed), size)
        ]
    replies = await asyncio.gather(*(asked(teacher, group) for group in groups))
    return [(group, reply.outcomes) for group, reply in zip(groups, replies, strict=True)]
