"""More of what students try, read from attacks/: none of it may pass any test, in any sandbox.

`f(x)` is to be twice x. FORMS are tests that RIGHT passes; LIES and BOMBS are code against them, a
bomb may cost its time; TRAPS have tests of their own, and code that passes these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

RIGHT = "def f(x): return 2 * x"


class Trap(NamedTuple):
    """`code` may pass none of `tests`, `right` passes them all."""

    code: str
    tests: list[str]
    right: str
    setup: str = ""


def _sections(name: str) -> dict[str, str]:
    text = (Path(__file__).parent / "attacks" / name).read_text(encoding="utf-8")
    parts = re.split(r"^=== (.+)\n", text, flags=re.MULTILINE)[1:]
    return {title: code.strip("\n") for title, code in zip(parts[::2], parts[1::2], strict=True)}


def _trap(text: str) -> Trap:
    code, *parts = re.split(r"^--- (setup|test|right)\n", text, flags=re.MULTILINE)
    given = [(kind, part.strip("\n")) for kind, part in zip(parts[::2], parts[1::2], strict=True)]
    [right] = [part for kind, part in given if kind == "right"]
    tests = [part for kind, part in given if kind == "test"]
    return Trap(code, tests, right, "".join(part for kind, part in given if kind == "setup"))


HONEST_CODE, *HONEST_TESTS = _sections("honest.txt").values()
"""Code that is right, and what tests of all kinds ask of it: what keeps lies out must let these
in.
"""
FORMS = list(_sections("forms.txt").values())
LIES = _sections("lies.txt")
BOMBS = _sections("bombs.txt")
TRAPS = {title: _trap(text) for title, text in _sections("traps.txt").items()}
