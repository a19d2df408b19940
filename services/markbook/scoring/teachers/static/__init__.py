"""The offline stub teacher: deterministic marks from syntax alone.

It neither runs nor understands code.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping

from markbook.scoring.teachers.protocol import BudgetLimiter, Group, Outage
from markbook.scoring.teachers.static.python import mark_python
from markbook.scoring.teachers.static.task import read_task
from markbook.scoring.teachers.static.text import mark_text
from markbook.scoring.types import Judgment, TeacherCall

VERSION = 2
"""Goes up with every change that can change a mark."""


class StaticTeacher:
    """Marks each sample by itself. Its calls are counted like a paid teacher's, at no tokens."""

    name = "static"
    model = f"static-{VERSION}"
    is_stub = True
    description = (
        "offline stub, no judge: it looks at syntax only, runs no code, "
        "and recognizes wrong code only where its syntax shows it"
    )

    def identity(self) -> Mapping[str, object]:
        # ast and the builtins differ between versions of Python
        return {
            "name": self.name,
            "version": VERSION,
            "python": ".".join(platform.python_version_tuple()[:2]),
        }

    async def mark(self, group: Group, purse: BudgetLimiter) -> tuple[Judgment, ...]:
        nothing = TeacherCall(self.model, "ok")
        await purse.settle(await purse.reserve(nothing), nothing, nothing)
        # in a thread: a sample of 100,000 characters can take seconds
        return await asyncio.to_thread(_mark, group)

    def batches(self) -> None:
        return None

    def outage(self) -> Outage | None:
        return None

    def stop(self) -> None: ...

    async def close(self) -> None: ...


def _mark(group: Group) -> tuple[Judgment, ...]:
    asked = read_task(group.task)
    if group.language == "python":
        return tuple(mark_python(code, asked) for code in group.codes)
    return tuple(mark_text(code, asked, group.language) for code in group.codes)
