"""`samples.html`: of each evaluation the best, the worst and the most changed samples, to be
read by a person.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jinja2

from markbook.terminal import printable
from markbook.trainer.run_dir import SAMPLES, write

T = TypeVar("T")
Line = Mapping[str, Any]
"""A line of samples.jsonl."""

SHOWN = 4
"""Samples of each kind, no two of one task: more are not read, and one easy task would fill
them.
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A sample and the one in its place in the evaluation before, which was drawn with the same
    seed.
    """

    before: Line
    after: Line

    @property
    def change(self) -> float:
        change: float = self.after["mark"] - self.before["mark"]
        return change


@dataclass(frozen=True, slots=True)
class Page:
    """One evaluation. Only samples with a mark are shown or counted in `mean`, which is over tasks,
    as `pass_rate` is over those with tests: pass@1.
    """

    step: int
    mean: float | None
    pass_rate: float | None
    scored: int
    unscored: int
    truncated: int
    best: Sequence[Line]
    worst: Sequence[Line]
    changed: Sequence[Pair]


def write_samples_page(run_dir: Path, run: str, marked_by: str) -> None:
    """Write `samples.html` again from what samples.jsonl holds of evaluations."""
    with (run_dir / SAMPLES).open(encoding="utf-8") as file:
        lines = (json.loads(line) for line in file)
        pages = evaluation_history(line for line in lines if line["phase"].startswith("eval"))
    write(run_dir / "samples.html", render(pages, run, marked_by))


def evaluation_history(lines: Iterable[Line]) -> list[Page]:
    """The evaluations, oldest first, from the lines of their samples."""
    by_step: defaultdict[int, dict[tuple[int, int], Line]] = defaultdict(dict)
    places: defaultdict[tuple[int, int], int] = defaultdict(int)
    for line in lines:
        step, task = line["step"], line["task"]
        by_step[step][task, places[step, task]] = line
        places[step, task] += 1
    pages: list[Page] = []
    before: Mapping[tuple[int, int], Line] = {}
    for step, samples in by_step.items():
        pages.append(_page(step, samples, before))
        before = samples
    return pages


def render(pages: Sequence[Page], run: str, marked_by: str) -> str:
    """HTML that needs nothing but itself. What a student wrote is text in it, whatever it holds."""
    return _template().render(pages=pages, run=run, marked_by=marked_by)


def visible(text: str) -> str:
    """`text` with what would not be seen, or would reorder what is, as escapes."""
    return printable(text.replace("\r\n", "\n"))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    return environment.from_string(
        Path(__file__).with_name("samples_report.jinja").read_text(encoding="utf-8")
    )


def _page(
    step: int, samples: Mapping[tuple[int, int], Line], before: Mapping[tuple[int, int], Line]
) -> Page:
    scored = {place: line for place, line in samples.items() if line["mark"] is not None}
    marks: defaultdict[int, list[float]] = defaultdict(list)
    verdicts: defaultdict[int, list[bool]] = defaultdict(list)
    for line in scored.values():
        marks[line["task"]].append(line["mark"])
        if (
            passed := line.get("passed")
        ) is not None:  # missing where an older version wrote the line
            verdicts[line["task"]].append(passed)
    pairs = [Pair(before[place], line) for place, line in scored.items() if place in before]
    changed = [pair for pair in pairs if pair.before["mark"] is not None and pair.change]
    return Page(
        step=step,
        mean=_mean_over_tasks(marks),
        pass_rate=_mean_over_tasks(verdicts),
        scored=len(scored),
        unscored=len(samples) - len(scored),
        truncated=sum(line["truncated"] for line in samples.values()),
        best=_first(
            scored.values(), key=lambda line: -line["mark"], task=lambda line: line["task"]
        ),
        worst=_first(
            scored.values(), key=lambda line: line["mark"], task=lambda line: line["task"]
        ),
        changed=_first(
            changed, key=lambda pair: -abs(pair.change), task=lambda pair: pair.after["task"]
        ),
    )


def _mean_over_tasks(values: Mapping[int, Sequence[float]]) -> float | None:
    return statistics.fmean(map(statistics.fmean, values.values())) if values else None


def _first(items: Iterable[T], key: Callable[[T], float], task: Callable[[T], int]) -> list[T]:
    """The first SHOWN by `key`, one of each task; equals in their order."""
    of_task: dict[int, T] = {}
    for item in sorted(items, key=key):
        of_task.setdefault(task(item), item)
    return list(of_task.values())[:SHOWN]
