"""The heuristic tier's benchmark on a corpus of five samples."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from benchmarks.heuristics import SLOW_S, TIMES, Row, main, print_times, timed
from tests.unit.scoring.samples import GOOD

TASK = "Write a program that sums even numbers."


def write(folder: Path, name: str, *rows: dict[str, str]) -> None:
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": TASK, **row}) + "\n" for row in rows)


def test_it_prints_shares_reasons_pairs_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = {"id": "sum", "language": "go", "code": GOOD["go"]}
    cut = GOOD["go"][:-40]
    write(tmp_path, "good", go)
    write(tmp_path, "good_realworld", {**go, "id": "file", "code": "package a\n\nfunc f( {\n"})
    write(
        tmp_path,
        "variants",
        *({**go, "code": code, "kind": "cut", "label": "broken"} for code in (cut, GOOD["go"])),
    )
    write(tmp_path, "pairs", {**go, "good": GOOD["go"], "bad": cut, "bug": "value misuse"})
    monkeypatch.setattr(sys, "argv", ["heuristics", str(tmp_path)])
    main()
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["good", "good", "1", "-", "-", "-", "0.0", "-", "-", "-", "0.0", "0.0", "0.02"] in lines
    assert [
        "broken",
        "cut",
        "2",
        "-",
        "-",
        "-",
        "50.0",
        "-",
        "-",
        "-",
        "50.0",
        "50.0",
        "-",
    ] in lines
    assert "Good samples rejected: 1\n  file (real-world): unclosed_bracket" in printed
    assert ["value", "misuse", "1", "0.0", "100.0"] in lines
    assert "bad sum (value misuse): cut_off, does not parse" in printed


def test_times_are_means_and_stand_beside_the_plain_parse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    took = (("good", 300e-6, 200e-6), ("good", 500e-6, 300e-6), ("cut", 1600e-6, 100e-6))
    print_times(
        [Row("sum", kind, kind, "go", None, False, ours, plain) for kind, ours, plain in took]
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["go", "400", "250", "1.60", "800", "200", "4.00", "1.6"] in lines
    assert ["rust", "0", "0", "0.00", "0", "0", "0.00", "0.0"] in lines


def test_a_folder_that_is_no_corpus_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["heuristics", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"holds no corpus: good\.jsonl\.gz is not there"):
        main()


def test_only_what_is_slow_is_timed_again_and_the_least_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for took, times in (
        ([SLOW_S / 2], 1),
        ([0.02, 0.01, SLOW_S / 2], 3),
        ([0.04, 0.03, 0.02, 0.01, 0.05], TIMES),
    ):
        clock = iter([moment for seconds in took for moment in (0.0, seconds)])
        monkeypatch.setattr(
            "benchmarks.heuristics.time.thread_time", lambda clock=clock: next(clock)
        )
        done: list[int] = []
        least, _ = timed(lambda done=done: done.append(1))
        assert (least, len(done)) == (min(took), times)
