"""Phrases that are sound in another language and odd in technical English do not come back into
the texts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

CHECKED = (
    *(
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "config.yaml",
        "docs",
        ".env.example",
        "Makefile",
    ),
    *("services/markbook", "trainer/markbook", "shared/markbook", "demo/markbook", "benchmarks"),
)
"""Files and folders whose texts are checked. Of Python files these are comments and docstrings."""
WITH_MESSAGES = ("services", "trainer", "shared", "demo")
"""Folders in which strings are texts, too: errors, log lines, help, descriptions."""
OLD_RUBRIC = ROOT / "benchmarks" / "texts" / "rubric_before.md"  # of the script this started from
SUFFIXES = (".md", ".yaml", ".yml", ".py", ".jinja", ".example", "Makefile")

UNITS = (
    "samples?|steps?|calls?|tokens?|tasks?|groups?|requests?|lines?|"
    "seconds?|dollars?|nats|marks?|runs?|bytes"
)
UNIT = "sample|step|call|token|task|group|request|second|day|run|line|criterion|batch"
PHRASES = {
    rf"\b(?:{UNITS}) a (?:{UNIT})\b(?! time)": "per",
    r"\bone of a (?:sample|step)\b": "per",
    r"(?<![-/`.])\b[Bb]ooks?\b(?![-/`]|\.\w)": "store, cache, database",
    r"\btells?\b|\btold\b": "reports, shows, says, returns, whether",
    r"\bwho(?:m|so)?ever\b|\bfor who\b": "anyone who, the user who",
    r"\bgo(?:es)? on\b": "continues",
    r"\bin force\b": "in effect, current",
    r"\b(?:is|are) none\b": "there is no, is invalid",
    r"\bhears?\b|\bheard\b": "is called with, receives",
    r"\bnobody\b|\bsomebody\b|\basks? anew\b|\banew\b": "name who, or: again",
    r"\bwants (?:its|a|an|float\w*|\w+sandbytes)\b": "requires",
    r"\bbears?\b|\bspeaks? (?:up|the protocol|the Messages)\b": "supports, implements, warns",
    r"\bthe plain way\b|\blaws of the house\b": "baseline, laws",
    r"\bstands? (?:in|on|with|there|further)\b|\bas (?:it|they) stands?\b": (
        "is in, is on, as it is"
    ),
    r"\b(?:is|are|was|were) asked (?:of|by|again)\b|\basks? (?:it|them|whether|again)\b": (
        "requested, called"
    ),
    r"\bsaid\b|\bsays? so\b|\bsays? (?:what|which|where|who)\b": "shows, logs, names",
}
_PATTERN = {re.compile(phrase): instead for phrase, instead in PHRASES.items()}
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\([^)]*\)")
_JINJA = re.compile(r"\{[%{].*?[%}]\}|<[^>]*>", re.DOTALL)


def files() -> Iterator[Path]:
    for name in CHECKED:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (
            file
            for file in found
            if file.is_file() and file.name.endswith(SUFFIXES) and file != OLD_RUBRIC
        )


def prose(path: Path) -> str:
    """The text without what is quoted: code, links, tags; of YAML the comments."""
    text = path.read_text()
    if path.suffix == ".md":
        return _LINK.sub("]", _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text))
    if path.suffix == ".py":
        docstrings = re.findall(r'"""(?:.|\n)*?"""', text)
        found = messages(text) if path.relative_to(ROOT).parts[0] in WITH_MESSAGES else []
        return "\n".join([*docstrings, *re.findall(r"#.*$", text, re.MULTILINE), *found])
    if path.suffix == ".jinja":
        return _JINJA.sub(" ", text)
    if path.name == "Makefile":
        return text
    return "\n".join(line.partition("#")[2] for line in text.splitlines())


def messages(source: str) -> list[str]:
    """The strings of Python source that are more than one word, each part of an f-string by
    itself.
    """
    nodes = list(ast.walk(ast.parse(source)))
    bare = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    strings = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in bare]
    return [node.value for node in strings if isinstance(node.value, str) and " " in node.value]


def faults(text: str) -> list[str]:
    one_line = " ".join(text.split())
    return [
        f"{one_line[max(0, found.start() - 30) : found.end() + 30]!r}: {instead}"
        for pattern, instead in _PATTERN.items()
        for found in pattern.finditer(one_line)
    ]


@pytest.mark.parametrize("path", [*files()], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_texts_are_plain_technical_english(path: Path) -> None:
    assert faults(prose(path)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "35 % of them broken, and prints 325 tokens a sample.",
        "No mark within timeout_s; it is on its way into the book.",
        "Instruments calls and tells metrics of them.",
        "There are no API keys: whoever reaches it can spend.",
        "A text for who cannot see it.",
        "--resume goes on from a checkpoint.",
        "Which rule is in force is none of its business.",
        "Its turn did not come, so nobody was asked.",
        "Days after which a mark is asked for anew.",
        "A quarter of bfloat16's; wants bitsandbytes.",
        "The last line says what was asked of it.",
    ],
)
def test_a_sentence_of_the_old_kind_is_found(sentence: str) -> None:
    assert faults(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "325 tokens per sample; it pays for samples a second time.",
        "The volume is called `book`, the task file keeps its name.",
        "What a sample costs is in `tokens a sample`.",
    ],
)
def test_what_is_quoted_or_only_looks_alike_is_not(sentence: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(sentence)
    assert faults(prose(page)) == []


def test_messages_are_texts_and_names_are_not():
    source = '"""Nobody."""\nraise Error(f"{name} is none, says {who}")\nkind = "told"\n'
    assert messages(source) == [" is none, says "]
