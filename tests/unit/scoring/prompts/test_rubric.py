"""Rubric files: what is read, what is refused, what changes the version, and the sum."""

from __future__ import annotations

from pathlib import Path

import pytest

from markbook.config.loading import ConfigError
from markbook.scoring.prompts.prompt import system_text
from markbook.scoring.prompts.rubric import Rubric, load_rubric, parse_rubric
from markbook.scoring.types import CRITERIA
from tests.emulator import tokens

OWN = "---\ncriteria:\n  tone: 0.25\n  brevity: 0.75\n---\ntone: kind.\nbrevity: short.\n"


def test_the_built_in_rubric_has_the_four_criteria_and_an_anchor_at_0_50_and_100_for_each() -> None:
    rubric = load_rubric()
    assert dict(rubric.criteria) == {
        "correctness": 0.3,
        "code_quality": 0.3,
        "efficiency": 0.2,
        "documentation": 0.2,
    }
    assert tuple(rubric.criteria) == CRITERIA
    for anchor in ("\n100: ", "\n50: ", "\n0: "):
        assert rubric.text.count(anchor) == 4


def test_the_system_prompt_is_long_enough_to_be_cached_and_not_much_longer() -> None:
    assert 512 <= tokens.exact(system_text(load_rubric(), explain=False)) < 1000


def test_the_sum_is_weighted() -> None:
    marks = {"correctness": 1.0, "code_quality": 0.5, "efficiency": 0.25, "documentation": 0.0}
    assert load_rubric().score(marks) == pytest.approx(0.3 + 0.15 + 0.05)
    assert load_rubric().score(dict.fromkeys(CRITERIA, 1.0)) == 1.0
    assert load_rubric().score(dict.fromkeys(CRITERIA, 0.0)) == 0.0


def test_the_sum_has_no_digits_that_only_floats_have() -> None:
    sums = [
        load_rubric().score(dict.fromkeys(CRITERIA, hundredth / 100)) for hundredth in range(101)
    ]
    assert sums == [hundredth / 100 for hundredth in range(101)]


def test_weights_written_to_a_few_digits_still_sum_to_one() -> None:
    thirds = parse_rubric(
        "---\ncriteria: {a: 0.3333334, b: 0.3333333, c: 0.3333334}\n---\na b c", "own.md"
    )
    assert 1.0 - 1e-15 <= thirds.score({"a": 1.0, "b": 1.0, "c": 1.0}) <= 1.0


def test_the_version_follows_the_text_and_the_names_but_not_the_weights() -> None:
    rubric = parse_rubric(OWN, "own.md")
    assert rubric.version == parse_rubric(OWN.replace("\n", "\r\n"), "own.md").version
    assert rubric.version == Rubric(rubric.text, {"tone": 0.5, "brevity": 0.5}).version
    assert rubric.version != Rubric(rubric.text + "!", rubric.criteria).version
    assert rubric.version != Rubric(rubric.text, {"brevity": 0.75, "tone": 0.25}).version


def test_a_rubric_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.md"
    path.write_text(OWN)
    rubric = load_rubric(path)
    assert rubric.text == "tone: kind.\nbrevity: short."
    assert rubric.score({"tone": 1.0, "brevity": 0.2}) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("tone: kind", "starts with `---`"),
        ("---\n: : :\n---\ntext", "not valid YAML"),
        ("---\ncriteria: {}\n---\ntext", "holds `criteria`"),
        ("---\ncriteria: {tone: 1}\nmore: 1\n---\ntone", "nothing else"),
        ("---\ncriteria: {Tone: 1}\n---\nTone", "lower case"),
        ("---\ncriteria: {tone: true}\n---\ntone", "the weight of tone is True"),
        ("---\ncriteria: {tone: 0, a: 1}\n---\ntone a", "the weight of tone is 0"),
        ("---\ncriteria: {tone: 0.5, a: 0.4}\n---\ntone a", "sum to 0.9"),
        ("---\ncriteria: {tone: 0.5, brevity: 0.5}\n---\ntone: kind", "does not mention brevity"),
        ("---\ncriteria: {tone: 1}\n---\ntone" + " " * 100_000, "more than 100000"),
    ],
)
def test_a_rubric_that_cannot_be_used_says_why(content: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^own\.md: ") as error:
        parse_rubric(content, "own.md")
    assert says in str(error.value)


def test_a_rubric_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the rubric .*gone\.md: No such file"):
        load_rubric(tmp_path / "gone.md")
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_rubric(tmp_path / "bytes.md")
