"""The wheel: nothing but `markbook` in it, and its commands run where it is installed, whatever
lies beside them.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, clean_environment

pytestmark = pytest.mark.long
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, *PIP, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], check=True
    )
    [file] = folder.glob("markbook-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An empty environment with the wheel and what its service needs; its Python."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    constraints = ("-c", str(ROOT / "requirements.lock"))
    subprocess.run([python, *PIP, "install", *constraints, f"{wheel}[service]"], check=True)
    return python


@pytest.fixture
def elsewhere(tmp_path):
    """A user's own folder, with modules of names that the project uses inside."""
    for name in ("trainer", "shared", "services", "demo", "contract"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    return tmp_path


def run(python: Path | str, folder: Path, *arguments: str, **environment: str) -> str:
    command = [str(python), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(**environment), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"markbook"}
    assert {
        name for name in names if name.endswith(("/py.typed", "rubrics/code.md", "demo/demo.yaml"))
    } == {
        *(f"markbook/{part}/py.typed" for part in ("scoring", "trainer", "adapters", "demo")),
        *(f"markbook/{part}/py.typed" for part in ("client", "config", "contract")),
        "markbook/scoring/prompts/rubrics/code.md",
        "markbook/demo/demo.yaml",
    }


def test_the_service_runs_where_it_is_installed(installed, elsewhere):
    assert "migrate" in run(installed, elsewhere, "-m", "markbook.scoring", "--help")
    assert "->" in run(Path(installed).with_name("markbook"), elsewhere, "migrate")
    code = (
        "import sys, markbook.client; print(*{'torch', 'sqlalchemy', 'fastapi'} & {*sys.modules})"
    )
    assert run(installed, elsewhere, "-c", code).split() == []


def test_the_trainer_and_the_demo_run_from_the_wheel(wheel, elsewhere, tmp_path_factory):
    """Beside the packages of this environment: torch is too large to be fetched again."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, *PIP, "install", "--no-deps", "--target", str(folder), str(wheel)],
        check=True,
    )
    for module in ("markbook.trainer", "markbook.demo"):
        assert "Usage" in run(
            sys.executable, elsewhere, "-m", module, "--help", PYTHONPATH=str(folder)
        )
    where = (
        "import markbook.trainer, markbook.demo; print(markbook.trainer.__file__, "
        "markbook.demo.__file__)"
    )
    assert (
        run(sys.executable, elsewhere, "-c", where, PYTHONPATH=str(folder)).count(str(folder)) == 2
    )
