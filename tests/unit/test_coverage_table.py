"""The table of `make coverage`: files go to their package, and the total is coverage's own."""

from __future__ import annotations

import pytest

from tests.coverage_table import COUNTS, package_of, rows


def counted(*counts: int) -> dict[str, dict[str, int]]:
    return {"summary": dict(zip(COUNTS, counts, strict=True))}


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("services/markbook/scoring/app.py", "scoring"),
        ("services/markbook/scoring/api/auth.py", "scoring/api"),
        ("services/markbook/scoring/teachers/static/flow.py", "scoring/teachers"),
        ("shared/markbook/tasks.py", "markbook"),
    ],
)
def test_a_file_counts_for_its_package(file, package):
    assert package_of(file) == package


def test_lines_and_branches_are_summed_by_package_and_in_all():
    files = {
        "services/markbook/scoring/api/auth.py": counted(8, 4, 2, 1),
        "services/markbook/scoring/api/stats.py": counted(6, 6, 4, 4),
        "shared/markbook/tasks.py": counted(10, 0, 0, 0),
        "shared/markbook/empty/__init__.py": counted(0, 0, 0, 0),
    }
    assert rows(files) == [
        ("empty", 0, 100.0),
        ("markbook", 10, 0.0),
        ("scoring/api", 14, 75.0),
        ("total", 24, 50.0),
    ]
