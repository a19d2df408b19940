"""The codes of the heuristic tier: all in the document, each with an example that gets it, each
with its sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from markbook.scoring.heuristics import SCORES, classify, explain
from markbook.scoring.heuristics.reasons import REASONS

ROOT = Path(__file__).parents[4]
DOCUMENT = (ROOT / "docs" / "reasons.md").read_text()
_ROW = re.compile(
    r"^\| `(?P<code>\w+)` \| (?P<mark>[\d.]+) \| (?P<meaning>.+?) \| (?P<language>\w+) "
    r"\| `(?P<unit>\".*?\")`(?: × (?P<times>\d+))? \|$",
    re.MULTILINE,
)


class Row(NamedTuple):
    code: str
    mark: float
    meaning: str
    language: str
    example: str


def rows() -> Iterator[Row]:
    for found in _ROW.finditer(DOCUMENT):
        example = json.loads(found["unit"]) * int(found["times"] or 1)
        yield Row(found["code"], float(found["mark"]), found["meaning"], found["language"], example)


def test_the_document_has_every_code_with_its_mark_and_its_sentence():
    assert {row.code: (row.mark, row.meaning) for row in rows()} == REASONS
    assert [row.code for row in rows()] == [*REASONS] == [*SCORES]


def test_no_code_is_in_the_table_that_the_tier_never_gives():
    """The other way, a code without its entry is a KeyError in whatever test gets it."""
    folder = ROOT / "services" / "markbook" / "scoring" / "heuristics"
    source = "".join(file.read_text() for file in folder.glob("*.py") if file.name != "reasons.py")
    assert not [code for code in REASONS if f'"{code}"' not in source]


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.code)
def test_the_example_gets_its_code(row):
    [task] = re.findall(r'for the task "(.+)"$', DOCUMENT, re.MULTILINE)
    assert classify(row.example, task, row.language) == (row.mark, (row.code,))


async def test_the_sentence_stands_beside_the_code_on_the_wire(service):
    broken = {"prompt": "Write add.", "language": "python", "code": "def add(first, :"}
    good = {**broken, "code": "def add(a, b):\n    return a + b\n"}
    async with service() as http:
        answer = await http.post("/score", json={"samples": [broken, good]})
    rejected, marked = answer.json()["results"]
    assert (rejected["reasons"], rejected["explanation"]) == (
        ["unclosed_bracket"],
        "A bracket is never closed.",
    )
    assert (marked["source"], marked["explanation"]) == ("teacher", None)


def test_no_code_is_no_sentence():
    assert explain(()) == ""
