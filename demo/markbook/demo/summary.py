"""The summary of a run folder: marks before and after, what they took, a sample of each, and
where files are.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markbook.contract import Counters, Source, TeacherStats
from markbook.terminal import printable

Line = Mapping[str, Any]

_LEFT_BEHIND = {
    "summary.json": "these figures",
    "metrics.jsonl": "one line per step",
    "samples.jsonl": "every sample: task, text, mark, criteria, source",
    "samples.html": "samples of each evaluation: the most changed, the best, the worst",
    "reward.png": "mark and KL against step",
    "config.yaml": "the configuration as used",
    "adapter": "the trained adapter, in PEFT's format",
    "service.log": "the scoring service's log",
}
_SHOWN_LINES = 14


def summary_text(run_dir: Path, teacher: TeacherStats) -> str:
    """All there is to say; less, where the run ended before it could write it down."""
    file = run_dir / "summary.json"
    if file.exists():
        summary = json.loads(file.read_text(encoding="utf-8"))
        samples = [
            json.loads(line)
            for line in (run_dir / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        parts = [_figures(summary, teacher), *_example(samples)]
    else:
        parts = ["there is no summary: the run ended before training began, or was killed"]
    return "\n\n".join([*parts, _places(run_dir)])


def _figures(summary: Mapping[str, Any], teacher: TeacherStats) -> str:
    rows = [
        ("run", f"{summary['run']}, {summary['ended']}"),
        ("marked by", f"{teacher.model}: {teacher.description}"),
    ]
    for k, change in summary.get("pass_at_k", {}).items():
        rows.append((f"pass@{k}", _change(change)))
    if "mark" in summary:
        rows.append(("mean mark", _change(summary["mark"])))
        rows.append(
            ("  of that, without documentation", _change(summary["mark_without_documentation"]))
        )
    rows.append(("steps", f"{summary['steps']} ({summary['skipped_steps']} skipped)"))
    for phase in ("training", "evaluation"):
        counters = Counters.model_validate(summary[phase])
        sources = ", ".join(
            f"{source.value} {counters.by_source.get(source, 0):,}" for source in Source
        )
        rows.append(
            (
                f"samples, {phase}",
                f"{counters.samples:,}: {sources}, unscored {counters.unscored:,}",
            )
        )
        rows.append(
            (
                f"teacher, {phase}",
                f"{counters.teacher_calls:,} calls, {counters.api_tokens_sent:,} tokens sent, "
                f"{counters.api_tokens_received:,} received, {counters.tokens_saved:,} saved",
            )
        )
    rows.append(
        (
            "seconds",
            ", ".join(f"{what} {seconds:.0f}" for what, seconds in summary["seconds"].items()),
        )
    )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _change(mark: Mapping[str, Any]) -> str:
    if mark["before"] is None:
        return "none of the evaluation was scored"
    text = f"{mark['before']:.3f} before"
    if mark["after"] is None:
        return f"{text} training; the run ended before the second evaluation"
    text += f", {mark['after']:.3f} after: {mark['difference']:+.3f}"
    if mark["interval_95"]:
        low, high = mark["interval_95"]
        text += f" (95 % interval {low:+.3f} to {high:+.3f})"
    return f"{text} over {mark['tasks']} evaluation tasks"


def _example(samples: Sequence[Line]) -> list[str]:
    """The evaluation sample whose mark changed as the mean did, or nearly, before and after:
    same task, same seed.
    """
    before, after = (_by_place(samples, phase) for phase in ("eval_before", "eval_after"))
    changes = {
        place: line["mark"] - before[place]["mark"]
        for place, line in after.items()
        if place in before
    }
    if not changes:
        return []
    mean = statistics.fmean(changes.values())
    place = min(changes, key=lambda place: abs(changes[place] - mean))
    return [
        f'the evaluation sample whose mark changed most like the mean: "{before[place]["prompt"]}"',
        _shown("before", before[place]),
        _shown("after", after[place]),
    ]


def _by_place(samples: Sequence[Line], phase: str) -> dict[tuple[int, int], Line]:
    """Those with a mark, by task and place in its group: the same place has the same seed."""
    seen: Counter[int] = Counter()
    places: dict[tuple[int, int], Line] = {}
    for line in samples:
        if line["phase"] == phase:
            if line["mark"] is not None:
                places[line["task"], seen[line["task"]]] = line
            seen[line["task"]] += 1
    return places


def _shown(when: str, line: Line) -> str:
    text = [printable(row) for row in line["sample"].strip().splitlines()]
    if len(text) > _SHOWN_LINES:
        text = [*text[:_SHOWN_LINES], "[...]"]
    reasons = f": {'; '.join(line['reasons'])}" if line["reasons"] else ""
    tests = _tests(line.get("tests"))
    return "\n".join(
        [f"{when}, mark {line['mark']:.2f}{reasons}{tests}", *(f"    {row}" for row in text)]
    )


def _tests(tests: Mapping[str, Any] | None) -> str:
    if tests is None:
        return ""
    failure = tests["first_failure"]
    return f"; {tests['passed']} of {tests['total']} tests passed" + (
        f", failed: {printable(failure)}" if failure else ""
    )


def _places(run_dir: Path) -> str:
    found = [(name, what) for name, what in _LEFT_BEHIND.items() if (run_dir / name).exists()]
    return "\n".join([f"in {run_dir}/", *(f"  {name:<14} {what}" for name, what in found)])
