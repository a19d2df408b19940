"""Exports in other forms: filters on both databases, preference pairs, CSV that no spreadsheet
runs, Parquet.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from datetime import UTC, datetime

import pytest

from markbook.cli import main
from markbook.config.loading import ConfigError
from markbook.scoring.exports import writers
from markbook.scoring.exports.columns import PAIR_COLUMNS, Column
from markbook.scoring.exports.pairs import PairFinder
from markbook.scoring.exports.writers import CsvWriter, JsonLinesWriter, ParquetWriter
from markbook.scoring.fingerprint import fingerprint, hash_profile
from markbook.scoring.store import NewMark, Record, RetentionPolicy, Store, Texts
from tests.unit.scoring.book import NOW

IDENTITY = {"teacher": "x"}
PROFILE = hash_profile(IDENTITY)
CRITERIA = ("correctness", "code_quality", "efficiency", "documentation")


def mark(
    task: str, code: str, value: float, language: str = "python", profile: str = PROFILE, **texts
) -> NewMark:
    """All criteria are `value`, and so is the score."""
    name = fingerprint(profile, task, code, language)
    return NewMark(
        name, dict.fromkeys(CRITERIA, value), ["why"], 1, 2, texts.get("texts", Texts(task, code))
    )


def fill(database_url: str, *calls: tuple[NewMark, int, str]) -> None:
    """Each mark with its time and run."""

    async def work() -> None:
        store = Store(database_url, 1_000, RetentionPolicy())
        store.open(PROFILE, IDENTITY, NOW, list(CRITERIA))
        for number, (each, at_ms, run) in enumerate(calls):
            await store.record_group(at_ms, f"{number:016x}", [each], {}, run=run)
        await store.given.add([calls[0][0].fingerprint.row], "borrower")
        await store.close()

    asyncio.run(work())


@pytest.fixture
def export(database_url, monkeypatch, capsysbinary):
    """`export(*options)`: exit status, standard output and error, on three marks of two runs and
    two days.
    """
    day_ms = 86_400_000
    fill(
        database_url,
        (mark("one", "a", 0.25), NOW, "first"),
        (mark("one", "b", 0.75), NOW + day_ms, "second"),
        (mark("two", "=1+1", 0.5), NOW + day_ms, "second"),
    )
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", database_url)

    def run(*options: str):
        status = main(["export", *options])
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return run


def codes_of(lines: bytes) -> set[str]:
    return {line["code"] for line in map(json.loads, lines.splitlines()) if "code" in line}


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ([], {"a", "b", "=1+1"}),
        (["--run", "second"], {"b", "=1+1"}),
        (["--run", "borrower"], {"a"}),  # it was given the mark without paying for it
        (["--run", "nobody"], set()),
        (["--since", "2023-11-15T22:13:20"], {"b", "=1+1"}),
        (["--since", "2023-11-15T22:13:21"], set()),
        (["--min-score", "0.5"], {"b", "=1+1"}),
        (["--min-score", "0.51"], {"b"}),
        (["--run", "second", "--min-score", "0.51", "--since", "2023-11-15"], {"b"}),
    ],
)
def test_filters_keep_what_can_be_imported(export, options, codes, tmp_path, monkeypatch):
    status, out, err = export(*options)
    assert status == 0
    assert codes_of(out) == codes
    assert err.startswith(f"{len(codes)} marks exported from ")
    (tmp_path / "some.jsonl").write_bytes(out)
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    assert main(["import", str(tmp_path / "some.jsonl")]) == 0


def test_csv_has_a_column_per_criterion_and_no_cell_that_runs(export):
    status, out, _ = export("--format", "csv", "--run", "second")
    assert status == 0
    assert out.startswith(
        b"created_at,run,language,score,criterion_code_quality,criterion_correctness,"
    )
    rows = {row["task"]: row for row in csv.DictReader(io.StringIO(out.decode(), newline=""))}
    assert rows["two"]["code"] == "'=1+1"
    assert rows["one"] | {"key": "", "digest": ""} == {
        "created_at": "2023-11-15T22:13:20+00:00", "run": "second", "language": "python",
        "score": "0.75",
        "criterion_code_quality": "0.75", "criterion_correctness": "0.75",
        "criterion_documentation": "0.75",
        "criterion_efficiency": "0.75", "reasons": '["why"]', "group_id": f"{1:016x}",
        "group_position": "1",
        "group_size": "2", "key": "", "profile": PROFILE, "digest": "", "tests_digest": "",
        "task": "one", "code": "b",
    }  # fmt: skip


def test_the_suffix_of_the_file_is_the_form_unless_one_is_given(export, tmp_path):
    assert export(str(tmp_path / "marks.csv"))[0] == 0
    assert (tmp_path / "marks.csv").read_bytes().startswith(b"created_at,")
    assert export(str(tmp_path / "marks.csv"), "--format", "jsonl")[0] == 0
    assert (tmp_path / "marks.csv").read_bytes().startswith(b'{"markbook_export":2,')
    assert export(str(tmp_path / "marks.txt"))[0] == 0
    assert (tmp_path / "marks.txt").read_bytes().startswith(b'{"markbook_export":2,')


def test_pairs_have_the_columns_of_trl(export):
    status, out, err = export("--pairs")
    assert (status, err.partition(" from ")[0]) == (0, "1 pairs exported")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "prompt": "one",
            "chosen": "b",
            "rejected": "a",
            "score_chosen": 0.75,
            "score_rejected": 0.25,
            "language": "python",
        }
    ]
    assert export("--pairs", "--min-margin", "0.5")[1] == out
    assert export("--pairs", "--min-margin", "0.51")[1] == b""
    assert export("--pairs", "--min-score", "0.76")[1] == b""
    assert export("--pairs", "--format", "csv")[1].startswith(
        b"prompt,chosen,rejected,score_chosen,score_rejected,"
    )


def found(marks, scores, **options):
    """The pairs as (prompt, chosen, rejected)."""
    finder = PairFinder(**options)
    rows = []
    order = sorted(zip(marks, scores, strict=True), key=lambda each: each[0].fingerprint.row)
    for each, score in order:
        rows += finder.add(Record(each, NOW, "0" * 16), score)
    rows += finder.end()
    assert list(finder.end()) == []
    return sorted((row["prompt"], row["chosen"], row["rejected"]) for row in rows)


def test_a_pair_is_the_best_and_the_worst_of_one_task_in_one_language_and_profile():
    other = "11" * 8
    rows = [
        (mark("t", "middle", 0.5), 0.5), (mark("t", "best", 0.9), 0.9),
        (mark("t", "worst", 0.1), 0.1),
        (mark("t", "go", 0.0, language="go"), 0.0),  # alone in its language
        (mark("t", "foreign", 1.0, profile=other), 1.0),  # alone in its profile
        (mark("u", "x", 0.6), 0.6), (mark("u", "y", 0.6), 0.6),  # equal: no preference
        (mark("v", "v1", 0.3), 0.3), (mark("v", "v2", 0.2), None),  # of another rubric: no score
        # its text is not stored
        (mark("w", "w1", 0.3), 0.3), (mark("w", "w2", 0.2, texts=None), 0.2),
    ]  # fmt: skip
    assert found(*zip(*rows, strict=True)) == [("t", "best", "worst")]
    assert found(*zip(*rows, strict=True), min_margin=0.0) == [("t", "best", "worst")]


def test_the_margin_is_that_of_rounded_scores():
    marks = [mark("t", "a", 0.9), mark("t", "b", 0.8)]
    assert 0.9 - 0.8 < 0.1
    assert found(marks, [0.9, 0.8], min_margin=0.1) == [("t", "a", "b")]
    assert found(marks, [0.9, 0.8], min_margin=0.100001) == []
    assert found(marks, [0.9, 0.8], min_score=0.9) == [("t", "a", "b")]
    assert found(marks, [0.9, 0.8], min_score=0.900001) == []


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1", "'+1"), ("-1", "'-1"),
        ("@cache", "'@cache"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("\n=1", "'\n=1"), ("＝1", "'＝1"),
        ("a=1", "a=1"), ("'=1", "'=1"), ("", ""), ('a"b,c\nd', 'a"b,c\nd'),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_text(text, cell):
    written = CsvWriter([Column("code", "text"), Column("score", "number")]).rows(
        [{"code": text, "score": -0.5}]
    )
    assert list(csv.reader(io.StringIO(written.decode(), newline=""))) == [[cell, "-0.5"]]


def test_json_lines_are_lines_to_every_reader():
    rows = [{"chosen": "a\u2028b\x85c\nd", "at": datetime(2026, 1, 2, tzinfo=UTC)}]
    [line] = JsonLinesWriter().rows(rows).decode().splitlines()
    assert json.loads(line) == {"chosen": "a\u2028b\x85c\nd", "at": "2026-01-02T00:00:00+00:00"}


def test_parquet_has_types_and_is_read_back_as_it_was(export, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "PARQUET_ROWS", 2)
    assert export(str(tmp_path / "marks.parquet"))[0] == 0
    table = parquet.ParquetFile(tmp_path / "marks.parquet")
    assert [table.metadata.row_group(at).num_rows for at in range(table.num_row_groups)] == [2, 1]
    rows = {row["code"]: row for row in table.read().to_pylist()}
    assert rows["b"]["created_at"] == datetime(2023, 11, 15, 22, 13, 20, tzinfo=UTC)
    assert (rows["b"]["score"], rows["b"]["group_size"], rows["b"]["tests_digest"]) == (
        0.75,
        2,
        None,
    )
    assert rows["=1+1"]["run"] == "second"  # as it is: Parquet has no formulas


def test_row_groups_of_long_texts_are_short(monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "PARQUET_CHARS", 10)
    table = ParquetWriter(PAIR_COLUMNS)
    row = dict.fromkeys(("prompt", "chosen", "rejected", "language"), "xxxx") | dict.fromkeys(
        ("score_chosen", "score_rejected"), 0.5
    )
    parts = [table.start(), table.rows([row]), table.rows([row]), table.end()]
    assert all(parts[1:])  # each row is more than ten characters
    assert parquet.ParquetFile(io.BytesIO(b"".join(parts))).num_row_groups == 2


def test_without_pyarrow_one_line_shows_what_to_install(export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError):
        ParquetWriter(PAIR_COLUMNS)
    status, out, err = export(str(tmp_path / "marks.parquet"))
    assert (status, out) == (2, b"")
    assert err == "Parquet needs pyarrow, which is not installed: pip install 'markbook[parquet]'\n"
    assert list(tmp_path.glob("marks*")) == []


def test_a_time_that_is_none_is_refused(export):
    status, _, err = export("--since", "yesterday")
    assert status == 2
    assert "'yesterday' is not a time" in err
