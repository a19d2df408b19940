"""Builds the teacher's prompt: the fixed system prompt, and one message per group with the
truncated task.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

from markbook.scoring.prompts.rubric import Rubric

CUT = "[…]"
"""Marks omitted text of the task; explained in the system prompt."""

_CHARS_PER_TOKEN = 2.8

_FRAME = (
    (files("markbook.scoring.prompts.rubrics") / "frame.md").read_text(encoding="utf-8").strip()
)
_EXPLAIN = " Then, on the same line, the main reason in at most 15 words."


def truncate_task(
    task: str, *, truncate: bool, chars: int, policy: Literal["head", "head_tail"] = "head"
) -> str:
    """The task truncated to at most `chars` characters plus the truncation mark.

    Cuts at white space; a text without any in reach (or a single word longer than `chars`) is cut
    between characters.
    """
    if not truncate or len(task) <= chars:
        return task
    if policy == "head":
        return f"{_head(task, chars)} {CUT}"
    tail = _head(task[::-1], chars // 2)[::-1]
    return f"{_head(task, chars - chars // 2)} {CUT} {tail}"


def _head(text: str, chars: int) -> str:
    """The longest start of `text` of at most `chars` characters that ends before white space."""
    window = text[: chars + 1]
    end = max((at for at, char in enumerate(window) if char.isspace()), default=0)
    kept = window[:end].rstrip() or window[:chars]
    # a pair of surrogates is one character, and half of it no text
    return kept[:-1] if "\ud800" <= kept[-1:] <= "\udbff" else kept


def estimate_tokens(text: str) -> int:
    """Tokens of `text`, offline, rounded up.

    Characters / 2.8. Measured with a reconstruction of the provider's newer tokenizer: code has 2.4
    characters a token, tasks 2.6, English prose 3.2. So code is counted a sixth too low, prose an
    eighth too high.
    """
    return -int(-len(text) // _CHARS_PER_TOKEN)


def baseline_tokens(task: str, code: str, rubric: Rubric, language: str) -> int:
    """Estimated input tokens of one call per sample: whole rubric, whole task and the code in
    one message.
    """
    return estimate_tokens(system_text(rubric, explain=False)) + estimate_tokens(
        render(task, language, [code], "#000000")
    )


def system_text(rubric: Rubric, *, explain: bool) -> str:
    """The system prompt: the same for every task, language and group, so that the provider's
    cache can hold it.
    """
    return _FRAME.format(
        cut=CUT,
        rubric=rubric.text,
        count=len(rubric.criteria),
        names=" ".join(rubric.criteria),
        explain=_EXPLAIN if explain else "",
    )


def render(task: str, language: str, codes: Sequence[str], marker: str) -> str:
    """The user message of one group: the task, then the samples numbered from 1, each behind a line
    with `marker`.

    `language` is one word or a few: whatever it holds, it stays on its line.
    """
    parts = [f"{marker} task, {' '.join(language.split())}\n{task}"]
    parts += [f"{marker} {number}\n{code}" for number, code in enumerate(codes, start=1)]
    parts.append(f"{marker} end: mark {'1' if len(codes) == 1 else f'1 to {len(codes)}'}")
    return "\n".join(parts)


def fence(seed: str, task: str, codes: Sequence[str]) -> str:
    """A delimiter for `render` that occurs nowhere in the task or the samples, so that no sample
    can forge one.

    Deterministic in `seed`, so that a retried group has the same prompt.
    """
    draw = random.Random(seed)
    digits = 6
    while True:
        marker = f"#{draw.randrange(10**digits):0{digits}d}"
        if not any(marker in text for text in (task, *codes)):
            return marker
        digits += 1


def shuffled_order(group_id: str, count: int, *, shuffle: bool) -> tuple[int, ...]:
    """The order of samples in the request: `order[position]` is an index into the group.

    Seeded by the group's id.
    """
    order = list(range(count))
    if shuffle:
        random.Random(f"order {group_id}").shuffle(order)
    return tuple(order)


def _template_version() -> str:
    sample = Rubric("rubric", {"criterion": 1.0})
    texts = [system_text(sample, explain=explain) for explain in (False, True)]
    return hashlib.sha256(
        "\0".join([*texts, render("task", "python", ["a", "b"], "#000000")]).encode()
    ).hexdigest()[:12]


TEMPLATE_VERSION = _template_version()
"""12 hex digits over all fixed text of the prompt: other wording makes other marks."""
