"""Rubrics: a text with its criteria and weights, versioned by content.

Computes the weighted score.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from markbook.config.loading import ConfigError
from markbook.config.strict_yaml import load_yaml
from markbook.contract.wire import SCORE_DIGITS

MAX_CHARS = 100_000
_FILE = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<text>.*)", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Rubric:
    """A rubric's text, and `criteria`: each name with its weight, in the order of the reply."""

    text: str
    criteria: Mapping[str, float]

    @cached_property
    def version(self) -> str:
        """12 hex digits over text and names. Not over the weights, which are applied on reading."""
        content = "\0".join([self.text, *self.criteria])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def score(self, criteria: Mapping[str, float]) -> float:
        """The weighted sum of criteria in [0, 1]; the sum is ours, never the teacher's.

        Rounded as on the wire, so that a threshold of 0.67 is the same for the service and for its
        clients.
        """
        total = math.fsum(weight * criteria[name] for name, weight in self.criteria.items())
        return min(1.0, round(total, SCORE_DIGITS))


def load_rubric(path: str | Path | None = None) -> Rubric:
    """Read a rubric file, or the built-in one.

    Raises ConfigError with what is wrong and how to put it right.
    """
    source = (
        Path(path) if path is not None else files("markbook.scoring.prompts.rubrics") / "code.md"
    )
    try:
        content = source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the rubric {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the rubric {path} is not UTF-8 text") from error
    return parse_rubric(content, str(path))


def parse_rubric(content: str, origin: str) -> Rubric:
    """A YAML head between two `---` lines with `criteria: {name: weight}`, then the text.

    Raises ConfigError.
    """
    found = _FILE.fullmatch(content.replace("\r\n", "\n"))
    if found is None:
        raise ConfigError(
            f"{origin}: a rubric starts with `---`, `criteria: {{name: weight}}`, `---`, then its "
            "text"
        )
    try:
        head = load_yaml(found["head"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{origin}: the head is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    text = found["text"].strip()
    criteria = _criteria(head, origin)
    if len(content) > MAX_CHARS:
        raise ConfigError(
            f"{origin}: {len(content)} characters, more than {MAX_CHARS}: every call would pay for "
            "them"
        )
    if missing := [name for name in criteria if name not in text]:
        raise ConfigError(f"{origin}: the text does not mention {', '.join(missing)}")
    return Rubric(text, criteria)


def _criteria(head: Any, origin: str) -> dict[str, float]:
    criteria = (
        head.get("criteria") if isinstance(head, dict) and set(head) == {"criteria"} else None
    )
    if not isinstance(criteria, dict) or not criteria:
        raise ConfigError(
            f"{origin}: the head holds `criteria`, each name with its weight, and nothing else"
        )
    for name, weight in criteria.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{origin}: criterion {name!r} must be lower case letters, digits and _"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
            raise ConfigError(
                f"{origin}: the weight of {name} is {weight!r}, expected a number above 0, at most "
                "1"
            )
    total = math.fsum(criteria.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise ConfigError(f"{origin}: the weights sum to {total:g}, expected 1")
    return {name: weight / total for name, weight in criteria.items()}
