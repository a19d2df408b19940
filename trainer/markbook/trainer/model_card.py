"""`adapter/README.md`: the card of a trained adapter, in the form that PEFT and the Hugging Face
Hub read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import yaml

from markbook.config.settings import Config
from markbook.contract import Counters, Source, Stats
from markbook.terminal import printable
from markbook.trainer.run_dir import write

_BUNDLED = "bundled:"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a student was made of and judged by. `rubric` and `profile`: the version of the rubric,
    and the hash of all that the marks depended on, as the service had them when the run started.
    """

    model: str
    tasks: str
    eval_tasks: str | None
    teacher: str
    teacher_description: str
    teacher_is_stub: bool
    rubric: str
    profile: str

    @classmethod
    def of(cls, config: Config, stats: Stats) -> Self:
        training, teacher = config.training, stats.teacher
        return cls(
            training.model,
            training.tasks,
            training.eval_tasks,
            teacher.model,
            teacher.description,
            teacher.is_stub,
            stats.profile_inputs.rubric,
            stats.profile,
        )

    @property
    def marked_by(self) -> str:
        """The teacher in one line for people."""
        return f"{self.teacher}: {self.teacher_description}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def write_model_card(run_dir: Path, origin: Origin, summary: Mapping[str, Any]) -> None:
    """In place of the empty card that PEFT writes. `summary`: the content of summary.json."""
    write(run_dir / "adapter" / "README.md", render_model_card(origin, summary))


def render_model_card(origin: Origin, summary: Mapping[str, Any]) -> str:
    """Markdown with the metadata that the Hub reads."""
    head = {
        **({"base_model": origin.model} if _is_on_the_hub(origin.model) else {}),
        "library_name": "peft",
        "tags": ["lora", "reinforcement-learning", "markbook"],
    }
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in _rows(origin, summary))
    warning = (
        "\nThe teacher was the static stub, which is no judge.\n" if origin.teacher_is_stub else ""
    )
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {_cell(summary['run'])}\n\n"
        f"A LoRA adapter for {_cell(origin.model)}, trained with reinforcement learning on the "
        "marks of a teacher by "
        f"Markbook {version('markbook')}.\n{warning}\n| | |\n|---|---|\n{rows}\n\n## Load it\n\n"
        f"```python\n{_loading(origin.model)}```\n\n`markbook merge RUN OUT` writes base and "
        "adapter as one "
        "model.\n"
    )


def _rows(origin: Origin, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "base", origin.model
    yield "tasks", origin.tasks
    yield "evaluation tasks", origin.eval_tasks or "none"
    yield "teacher", origin.marked_by
    yield "rubric", f"version {origin.rubric}"
    yield "profile of the marks", origin.profile
    for phase in ("training", "evaluation"):
        counters = Counters.model_validate(summary[phase])
        counts = [(source.value, counters.by_source.get(source, 0)) for source in Source]
        sources = ", ".join(f"{source} {count:,}" for source, count in counts if count)
        yield (
            f"marks, {phase}",
            f"{counters.samples - counters.unscored:,} of {counters.samples:,} samples: {sources}",
        )
    for k, change in summary.get("pass_at_k", {}).items():
        yield f"pass@{k}", _change(change)
    if "mark" in summary:
        yield "mean mark", _change(summary["mark"])
    yield (
        "steps",
        f"{summary['steps']:,}, {summary['skipped_steps']:,} of them skipped; {summary['ended']}",
    )


def _change(change: Mapping[str, Any]) -> str:
    """Before and after, over the same tasks."""
    if change["before"] is None:
        return "nothing was scored"
    if change["after"] is None:
        return f"{change['before']:.3f} before; not evaluated after"
    interval = change["interval_95"]
    bounds = f", 95% interval {interval[0]:+.3f} to {interval[1]:+.3f}" if interval else ""
    difference = f"{change['difference']:+.3f}{bounds}, {change['tasks']:,} tasks"
    return f"{change['before']:.3f} before, {change['after']:.3f} after ({difference})"


def _loading(model: str) -> str:
    base = f"data/models/{model.removeprefix(_BUNDLED)}" if model.startswith(_BUNDLED) else model
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"base = {base!r}\n"
        "tokenizer = AutoTokenizer.from_pretrained(base)\n"
        'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "adapter")  '
        "# this folder\n"
    )


def _is_on_the_hub(model: str) -> bool:
    """Whether it is a name of the Hub: the Hub refuses a card that names a folder as its base."""
    return (
        model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).exists()
    )


def _cell(text: str) -> str:
    """In one line of a Markdown table, whatever it holds."""
    shown = printable(" ".join(text.split()))
    for char in ("\\", "|", "<", "`", "["):
        shown = shown.replace(char, f"\\{char}")
    return shown
