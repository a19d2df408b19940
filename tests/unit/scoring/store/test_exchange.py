"""Marks carried from book to book: nothing is lost or changed, and what is no mark is refused
with its line.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from markbook.cli import main
from markbook.scoring.fingerprint import fingerprint, hash_profile
from markbook.scoring.store import NewMark, RetentionPolicy, Store, Texts
from markbook.scoring.store.database import Database
from markbook.scoring.store.export_import import BATCH
from tests.fakes import true_criteria, true_score

ROOT = Path(__file__).parents[4]
IDENTITY = {"teacher": {"name": "x"}, "rubric": "1"}
OTHER = {"teacher": {"name": "y"}, "rubric": "2"}
MINE, OTHERS = hash_profile(IDENTITY), hash_profile(OTHER)
TASK = "Write naïve(x),\nplease. \u2028"
NOW = 1_700_000_000_123

ODD = ["é\n", '"', "a\u2028b\x85c\u2029d"]


def mark(code: str, *, profile: str = MINE, language: str = "python", **changes: object) -> NewMark:
    name = fingerprint(profile, TASK, code, language)
    return replace(NewMark(name, true_criteria(code), [], 1, 2, Texts(TASK, code)), **changes)


def fill(database_url: str, *marks: NewMark, **life: bool) -> None:
    async def work() -> None:
        store = Store(database_url, 1_000, RetentionPolicy(**life))
        store.open(OTHERS, OTHER, 5, ["style", "speed"])
        store.open(MINE, IDENTITY, 7)
        for number, each in enumerate(marks):
            await store.record_group(NOW + number, f"{number:016x}", [each], {})
        await store.close()

    asyncio.run(work())


def changed(line: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n"


@pytest.fixture
def run(tmp_path, monkeypatch, capsysbinary) -> Callable[..., tuple[int, bytes, str]]:
    """`run(url, "export")`: exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(
        database_url: str, *arguments: str, given: bytes | io.RawIOBase = b""
    ) -> tuple[int, bytes, str]:
        monkeypatch.setenv("MARKBOOK_DATABASE_URL", database_url)
        stream = io.BytesIO(given) if isinstance(given, bytes) else given
        monkeypatch.setattr("sys.stdin", type("Standard", (), {"buffer": stream}))
        status = main(list(arguments))
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return call


@pytest.fixture
def book(sqlite_url) -> str:
    """Two profiles, odd texts, two marks under one readable key, one mark without texts, and
    more than a batch.
    """
    plain = [mark(f"code {number}") for number in range(BATCH + 1)]
    first = mark("first", reasons=ODD, place=2)
    second = replace(
        mark("second"),
        fingerprint=replace(mark("second").fingerprint, code_hash=bytes(6)),
        texts=None,
    )
    third = replace(
        mark("third"),
        fingerprint=replace(mark("third").fingerprint, code_hash=bytes(6)),
        texts=None,
    )
    foreign = mark(
        "foreign", profile=OTHERS, language="a:b", criteria={"style": 0.1 + 0.2, "speed": 1.0}
    )
    fill(sqlite_url, *plain, first, second, third, foreign)
    return sqlite_url


def test_from_sqlite_to_postgres_and_back_is_the_same_bytes(book, postgres_url, tmp_path, run):
    status, exported, told = run(book, "export")
    assert (status, len(exported.splitlines())) == (0, BATCH + 6)
    assert told == f"{BATCH + 5} marks exported from {book}\n"
    status, _, told = run(postgres_url, "import", "-", given=exported)
    assert (status, told.split(" into ")[0]) == (0, f"{BATCH + 5} marks imported")
    assert run(postgres_url, "export", "there.jsonl")[0] == 0
    assert [file.name for file in tmp_path.glob("there*")] == ["there.jsonl"]
    assert (tmp_path / "there.jsonl").read_bytes() == exported
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert run(back, "import", "there.jsonl")[0] == 0
    assert run(back, "export")[1] == exported


def test_no_line_holds_what_some_readers_take_for_the_end_of_one(book, run):
    lines = run(book, "export")[1].decode().split("\n")
    assert [line for line in lines if len(line.splitlines()) > 1] == []
    [first] = [json.loads(line) for line in lines if '"first"' in line]
    assert first["reasons"] == ODD


def test_what_a_line_says(book, run):
    header, *lines = (json.loads(line) for line in run(book, "export")[1].splitlines())
    assert header["markbook_export"] == 2
    assert header["profiles"][OTHERS] == {
        "profile_inputs": OTHER,
        "criteria": ["style", "speed"],
        "created_at": "1970-01-01T00:00:00.005000Z",
    }
    assert list(header["profiles"]) == sorted([MINE, OTHERS])
    [first] = [line for line in lines if line["code"] == "first"]
    name = fingerprint(MINE, TASK, "first", "python")
    assert first.pop("tests_digest") is None
    assert first.pop("score") == pytest.approx(true_score("first"))
    assert first == {
        "key": name.key, "profile": MINE, "digest": name.digest.hex(), "language": "python",
        "criteria": true_criteria("first"), "reasons": ODD,
        "created_at": "2023-11-14T22:13:20.324000Z",
        "group": {"id": f"{BATCH + 1:016x}", "position": 2, "size": 2}, "task": TASK,
        "code": "first",
    }  # fmt: skip
    [foreign] = [line for line in lines if line["profile"] == OTHERS]
    assert (foreign["score"], foreign["language"]) == (None, "a:b")
    assert foreign["criteria"] == {"style": 0.1 + 0.2, "speed": 1.0}
    assert len([line for line in lines if line["code"] is None]) == 2


def test_importing_again_changes_nothing_and_the_first_write_wins(
    book, database_url, tmp_path, run
):
    exported = run(book, "export")[1]
    there = database_url if database_url != book else f"sqlite:///{tmp_path / 'there.db'}"
    fill(there, mark("first", criteria=dict.fromkeys(true_criteria("x"), 0.5)))
    for new, known in ((BATCH + 4, 1), (0, BATCH + 5)):
        status, _, told = run(
            there, "import", "-", given=b"\xef\xbb\xbf" + exported
        )  # as some editors save it
        assert status == 0
        assert told.startswith(f"{new} marks imported into ")
        assert told.endswith(f", {known} were stored already\n")
    lines = [json.loads(line) for line in run(there, "export")[1].splitlines()[1:]]
    assert [line["criteria"]["correctness"] for line in lines if line["code"] == "first"] == [0.5]


def test_a_line_twice_in_a_batch_is_one_mark(book, database_url, tmp_path, run):
    header, first, *_ = run(book, "export")[1].splitlines(keepends=True)
    there = database_url if database_url != book else f"sqlite:///{tmp_path / 'there.db'}"
    second = changed(first, criteria=dict.fromkeys(json.loads(first)["criteria"], 0.5))
    status, _, told = run(there, "import", "-", given=header + first + second)
    assert status == 0
    assert told.startswith("1 marks imported into ")
    assert told.endswith(", 1 were stored already\n")
    assert run(there, "export")[1] == header + first


def test_a_book_that_keeps_no_texts_takes_none(book, tmp_path, run):
    exported = run(book, "export")[1]
    (tmp_path / "config.yaml").write_text("store: {store_samples: false}\n")
    there = f"sqlite:///{tmp_path / 'there.db'}"
    assert run(there, "import", "-", given=exported)[0] == 0
    lines = [json.loads(line) for line in run(there, "export")[1].splitlines()[1:]]
    assert {(line["task"], line["code"]) for line in lines} == {(None, None)}
    assert len(lines) == BATCH + 5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: b"nonsense\n", "Invalid JSON: expected ident at line 1 column 2"),
        (lambda line: line[:40], "Invalid JSON: EOF while parsing a string"),
        (lambda line: b"\xff\n", "Invalid JSON"),
        (lambda line: changed(line, more=1), "more: Extra inputs are not permitted"),
        (
            lambda line: changed(line, code="other"),
            "key and digest are not those of its task and code",
        ),
        (lambda line: changed(line, language="go"), "language is 'go', but the key's is 'python'"),
        (lambda line: changed(line, key="STUDENT:x"), "'STUDENT:x' is no key of a mark"),
        (
            lambda line: changed(line, profile="0" * 16),
            "profile 0000000000000000 is not in the first line",
        ),
        (
            lambda line: changed(line, criteria={"style": 1}),
            "the criteria of its profile are code_quality, corr",
        ),
        (
            lambda line: changed(line, criteria={**true_criteria("x"), "efficiency": 1.01}),
            "criteria.efficiency: Input should be less than or equal to 1",
        ),
        (
            lambda line: changed(line, created_at="yesterday"),
            "created_at: Input should be a valid datetime",
        ),
    ],
)
def test_a_bad_line_is_named_and_what_stands_before_it_stays(tmp_path, run, change, why):
    here, there = (f"sqlite:///{tmp_path / name}" for name in ("here.db", "there.db"))
    fill(here, *(mark(code) for code in "abc"))
    header, first, second, third = run(here, "export")[1].splitlines(keepends=True)
    (tmp_path / "bad.jsonl").write_bytes(header + first + second + change(third))
    status, _, told = run(there, "import", "bad.jsonl")
    assert status == 2
    assert told.startswith(f"bad.jsonl: line 4: {why}")
    assert told.splitlines()[1:] == [f"2 marks imported into {there}"]
    assert len(run(there, "export")[1].splitlines()) == 3


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"", "Invalid JSON: EOF"),
        (b'{"markbook_export": 1, "profiles": {}}\n', "markbook_export: Input should be 2"),
        (
            b'{"markbook_export": 2, "profiles": {"0123456789abcdef": '
            b'{"profile_inputs": {}, "criteria": [], "created_at": "2026-01-01T00:00:00Z"}}}\n',
            "profile 0123456789abcdef is not the hash of its profile_inputs",
        ),
    ],
)
def test_what_has_no_header_is_refused(sqlite_url, run, first, why):
    status, _, told = run(sqlite_url, "import", "-", given=first)
    assert status == 2
    assert told.startswith(f"-: line 1 is no header of an export: {why}")


def test_files_that_cannot_be_used_are_one_line(sqlite_url, tmp_path, run):
    for arguments in (
        ("import", "missing.jsonl"),
        ("export", "no/such/folder.jsonl"),
        ("import", str(tmp_path)),
    ):
        status, _, told = run(sqlite_url, *arguments)
        assert status == 2
        assert told.startswith("cannot ")
        assert len(told.splitlines()) == 1


def test_ctrl_c_leaves_what_was_imported(book, tmp_path, run):
    lines = run(book, "export")[1].splitlines(keepends=True)

    class Interrupted(io.RawIOBase):
        def __iter__(self) -> Iterator[bytes]:
            yield from lines[: BATCH + 3]
            raise KeyboardInterrupt

    there = f"sqlite:///{tmp_path / 'there.db'}"
    status, _, told = run(there, "import", "-", given=Interrupted())
    assert (status, told) == (130, f"{BATCH} marks imported into {there}\n")
    assert len(run(there, "export")[1].splitlines()) == BATCH + 1


def test_ctrl_c_leaves_no_half_export(book, tmp_path, run, monkeypatch):
    read = Database.read_sync
    with monkeypatch.context() as patch:

        def interrupted(self, work):
            if "page" in work.__qualname__:
                raise KeyboardInterrupt
            return read(self, work)

        patch.setattr(Database, "read_sync", interrupted)
        status, _, told = run(book, "export", "half.jsonl")
    assert (status, told) == (130, "stopped: nothing is exported\n")
    assert list(tmp_path.glob("half*")) == []


@pytest.mark.long
def test_one_process_exports_into_another(book, postgres_url, run):
    command = [sys.executable, "-m", "markbook.scoring"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT)}
    give = subprocess.run(
        [*command, "export"],
        env={**environment, "MARKBOOK_DATABASE_URL": book},
        capture_output=True,
        check=True,
    )
    assert give.stderr.decode().splitlines() == [f"{BATCH + 5} marks exported from {book}"]
    environment["MARKBOOK_DATABASE_URL"] = postgres_url
    subprocess.run(
        [*command, "import", "-"],
        env=environment,
        input=give.stdout,
        capture_output=True,
        check=True,
    )
    head = subprocess.Popen(
        [*command, "export"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert head.stdout is not None
    head.stdout.readline()
    head.stdout.close()
    assert head.stderr is not None
    assert "Traceback" not in head.stderr.read().decode()
    head.stderr.close()
    assert head.wait() in (0, 1)
    assert run(postgres_url, "export")[1] == give.stdout
