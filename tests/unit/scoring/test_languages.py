"""Names of languages."""

from __future__ import annotations

import pytest

from markbook.scoring.languages import canonical


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("python", "python"),
        ("Py", "python"),
        ("python3", "python"),
        (" C++ ", "cpp"),
        ("c++20", "cpp"),
        ("hpp", "cpp"),
        ("rs", "rust"),
        ("Golang", "go"),
        ("JS", "javascript"),
        ("node.js", "javascript"),
        ("ts", "typescript"),
        ("java", "java"),
        ("tsx", "tsx"),
    ],
)
def test_aliases(written: str, name: str) -> None:
    assert canonical(written) == name


@pytest.mark.parametrize(
    ("written", "name"), [("C", "c"), (" Haskell\n", "haskell"), ("F#", "f#"), ("", "")]
)
def test_an_unknown_name_is_stripped_and_in_lower_case(written: str, name: str) -> None:
    assert canonical(written) == name


def test_a_name_is_its_own_canonical_name() -> None:
    for name in ("python", "cpp", "rust", "go", "java", "javascript", "typescript", "tsx", "cobol"):
        assert canonical(canonical(name)) == name
