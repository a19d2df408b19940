"""bench-trainer on a tiny student: both sides to the end, and as many tokens of one as of the
other.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT, clean_environment
from tests.tiny import save_tiny_student

pytestmark = pytest.mark.long


def test_both_sides_are_measured_on_the_same_number_of_tokens(tmp_path):
    save_tiny_student(tmp_path)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "benchmarks.trainer",
                "--student",
                str(tmp_path),
                "--device",
                "cpu",
            ),
            *("--steps", "2", "--samples", "4", "--tokens", "8"),
        ],
        cwd=ROOT,
        env=clean_environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [
        line.split(" | ")
        for line in done.stdout.splitlines()
        if line.startswith(("| Markbook", "| TRL"))
    ]
    assert [row[0].split()[1] for row in rows] == [
        "Markbook",
        "TRL",
        "Markbook,",
    ]  # the slow teacher is for our side only
    assert {row[5] for row in rows} == {str(2 * 4 * 8)}
    assert "of the possible" in done.stdout
