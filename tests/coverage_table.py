"""`make coverage`: how much of each package the tests of the last run executed, and of all
together.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from coverage import Coverage

COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def package_of(file: str) -> str:
    """The package that a row is for: `scoring/api` of services/markbook/scoring/api/auth.py,
    `scoring` of app.py.
    """
    parts = PurePath(file).parts
    inner = parts[parts.index("markbook") + 1 : -1]
    return "/".join(inner[:2]) or "markbook"


def percent(counts: Mapping[str, int]) -> float:
    """Of lines and branches together, as coverage itself counts; 100 where there are none."""
    possible = counts["num_statements"] + counts["num_branches"]
    return (
        100 * (counts["covered_lines"] + counts["covered_branches"]) / possible
        if possible
        else 100.0
    )


def rows(files: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Package, its statements, and the percentage of its lines and branches that ran; the last
    row is the total.
    """
    packages: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    for file, of in files.items():
        for package in (package_of(file), "total"):
            for name in COUNTS:
                packages[package][name] += of["summary"][name]
    total = packages.pop("total", dict.fromkeys(COUNTS, 0))
    ordered = [*sorted(packages.items()), ("total", total)]
    return [(package, counts["num_statements"], percent(counts)) for package, counts in ordered]


def main() -> None:
    coverage = Coverage()
    coverage.combine(strict=False)
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    print(f"{'package':32}{'statements':>12}{'% run':>8}")
    for package, statements, share in rows(files):
        print(f"{package:32}{statements:12,}{share:8.1f}")


if __name__ == "__main__":
    main()
