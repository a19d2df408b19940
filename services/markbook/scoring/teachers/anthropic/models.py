"""What the request must know of a model: how little it can be set to think, and from which length
it caches.

From the provider's model pages, read in November 2026. A name that is not here is another server's:
it is sent no `thinking` and left no room for it, and the rubric is marked for caching all the same,
which such servers ignore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Thinking = Literal["disabled", "between_tools", "always", "unknown"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`thinking`: the least there is.

    `cache_floor`: tokens of the shortest prefix that is cached; None: not known.
    """

    thinking: Thinking
    cache_floor: int | None


_FACTS = {
    "claude-haiku-5-5": ModelFacts("disabled", 512),
    # refuses "disabled"; without tools there is nothing between them, so it does not think
    "claude-sonnet-5-5": ModelFacts("between_tools", 512),
    "claude-opus-5-5": ModelFacts("always", 512),
    "claude-opus-5": ModelFacts("disabled", 512),
    "claude-sonnet-5": ModelFacts("disabled", 1024),
    "claude-sonnet-4-5": ModelFacts("disabled", 1024),
    "claude-haiku-4-5": ModelFacts("disabled", 4096),
    "claude-opus-4-5": ModelFacts("disabled", 4096),
    "claude-opus-4-6": ModelFacts("disabled", 4096),
}


THINKING_TOKENS = 2048
"""Output tokens left for a Claude model that always thinks.

Another server's model gets none unless configured.
"""


def thinking_room(thinking: Thinking, configured: int | None) -> int:
    """Output tokens per call beside the reply. `configured`: `teacher.thinking_tokens`."""
    if thinking in ("disabled", "between_tools"):
        return 0
    if configured is not None:
        return configured
    return THINKING_TOKENS if thinking == "always" else 0


def model_facts(model: str) -> ModelFacts:
    """Facts of `model`, whose name may end in a date (`claude-haiku-4-5-20251001`)."""
    name, _, tail = model.rpartition("-")
    undated = name if len(tail) == 8 and tail.isdecimal() else model
    return _FACTS.get(undated, ModelFacts("unknown", None))
