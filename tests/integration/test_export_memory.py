"""100,000 marks exported by the command and downloaded from the service: memory does not grow
with their number.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from markbook.scoring.fingerprint import fingerprint
from markbook.scoring.store import NewMark, Record, Store, Texts
from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.unit.scoring.book import NOW, PROFILE

FEW, MANY = 2_000, 100_000
CRITERIA = ("correctness", "code_quality", "efficiency", "documentation")
ALLOWED_KIB = 24 * 1024
"""By which the peak with MANY marks may exceed that with FEW.

All texts together have about 110 MB.
"""
CODE = "def f(value):\n" + "".join(
    f"    value = value + {number}  # one more step\n" for number in range(25)
)


def fill(database_url: str, marks: int) -> None:
    store = Store(database_url, 1_000)
    store.open(PROFILE, {"teacher": "x"}, NOW, list(CRITERIA))
    for start in range(0, marks, 1000):
        records = []
        for number in range(start, start + 1000):
            task, code = f"Task {number // 8}: add up.", f"{CODE}# {number}\n"
            value = number % 8 / 10
            mark = NewMark(
                fingerprint(PROFILE, task, code, "python"),
                dict.fromkeys(CRITERIA, value),
                (),
                1,
                8,
                Texts(task, code),
            )
            records.append(Record(mark, NOW, "0" * 16))
        store.records.add(records, NOW)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("stores")
    urls = {marks: f"sqlite:///{folder / str(marks)}.db" for marks in (FEW, MANY)}
    for marks, url in urls.items():
        fill(url, marks)
    return urls


MEASURED = """
import resource, sys
from markbook.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def export(database_url: str, *arguments: str) -> tuple[int, int]:
    """KiB of the peak, and the number of rows that the command reports."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "export", *arguments],
        cwd=ROOT,
        env=clean_environment(MARKBOOK_DATABASE_URL=database_url),
        capture_output=True,
        text=True,
        check=True,
    )
    *_, report, peak = done.stderr.splitlines()
    return int(peak), int(report.split()[0].replace(",", ""))


@pytest.mark.long
@pytest.mark.parametrize(
    "options", [["--format", "jsonl"], ["--format", "csv"], ["--pairs"]], ids=" ".join
)
def test_the_command(stores, tmp_path, options):
    file = tmp_path / "out"
    few, _ = export(stores[FEW], str(file), *options)
    many, rows = export(stores[MANY], str(file), *options)
    assert rows == (MANY // 8 if "--pairs" in options else MANY)
    assert file.stat().st_size > (MANY // 8 if "--pairs" in options else MANY) * 1000
    assert many - few < ALLOWED_KIB


@pytest.mark.long
def test_parquet(stores, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "marks.parquet"
    few, _ = export(stores[FEW], str(file))
    many, rows = export(stores[MANY], str(file))
    assert rows == parquet.ParquetFile(file).metadata.num_rows == MANY
    assert (
        many - few < 4 * ALLOWED_KIB
    )  # a row group of 5,000 rows, its columns and their compressed pages


def peak_kib(pid: int) -> int:
    """Of the process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.long
def test_a_download(stores):
    peaks = {}
    for marks, url in stores.items():
        with ServiceProcess(url) as service:
            size = 0
            with httpx.stream("GET", f"{service.url}/export", timeout=120) as answer:
                for part in answer.iter_bytes():
                    size += len(part)
            assert size > marks * 1000
            peaks[marks] = peak_kib(service.pid)
    assert peaks[MANY] - peaks[FEW] < ALLOWED_KIB
