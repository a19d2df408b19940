"""The arithmetic of bench-trainer, by hand."""

from __future__ import annotations

import pytest

from benchmarks.trainer import gains, ratio, table
from benchmarks.trainer_sides import Report

GIB = 2**30
OURS = [Report(4.0, 1.5, 0.1, 64, 2 * GIB), Report(6.0, 2.5, 0.1, 64, 3 * GIB)]  # G 2.0, L 2.9
TRL = [Report(8.0, 3.0, 0.5, 64, 5 * GIB), Report(12.0, 5.0, 0.5, 64, 4 * GIB)]


def test_what_is_neither_generating_nor_waiting_is_learning():
    assert OURS[0].learning == pytest.approx(2.4)


def test_the_table():
    lines = table(
        "At once", {"ours": OURS, "trl": TRL}, {"ours": "Markbook", "trl": "TRL 1.16"}
    ).splitlines()
    assert lines[4] == "| Markbook | 5.00 (4.00 to 6.00) | 2.00 | 0.10 | 2.90 | 64 | 3.00 GiB |"
    assert lines[5] == "| TRL 1.16 | 10.00 (8.00 to 12.00) | 4.00 | 0.50 | 5.50 | 64 | 5.00 GiB |"
    assert ratio({"ours": OURS, "trl": TRL}) == 2.0


def test_the_gain_beside_the_possible_one():
    slow = [
        Report(5.5, 2.0, 0.5, 64, GIB),
        Report(4.5, 2.0, 0.0, 64, GIB),
    ]  # G 2.0, L 2.75, 0.25 of 5.0 s waiting
    said = gains(slow, 2.0)
    assert "would take 6.75 s" in said
    assert "the best possible is 4.75 s, a gain of 1.42" in said
    assert (
        "it took 5.00 s, a gain of 1.35: 95% of the possible. Waiting was 5.0% of the step." in said
    )
