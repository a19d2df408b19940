"""A client that another tool generates from the OpenAPI description compiles and calls the
running service.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.processes import ROOT, ServiceProcess, clean_environment

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a venv with openapi-python-client, whose dependencies are not ours."""
    folder = tmp_path_factory.mktemp("generator")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    requirements = ROOT / "tests" / "openapi-python-client.txt"
    pip = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "-r", str(requirements)], check=True)
    return folder / "bin"


def test_a_generated_client_compiles_and_calls_the_service(generator: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        path = f"{generator}{os.pathsep}{os.environ['PATH']}"  # the generator looks for ruff there
        done = subprocess.run(
            command,
            env=clean_environment(PATH=path, PYTHONPATH=str(tmp_path)),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    schema, package = tmp_path / "openapi.json", tmp_path / "markbook_client"
    with ServiceProcess(f"sqlite:///{tmp_path / 'book.db'}") as service:
        schema.write_text(httpx.get(f"{service.url}/openapi.json").text)
        run(
            *(
                str(generator / "openapi-python-client"),
                "generate",
                "--fail-on-warning",
                "--meta",
                "none",
            ),
            *("--path", str(schema), "--output-path", str(package)),
        )
        assert compileall.compile_dir(package, quiet=1)
        caller = str(ROOT / "tests" / "call_generated_client.py")
        found = json.loads(run(str(generator / "python"), "-W", "error", caller, service.url))
    assert found.pop("modules") > 50
    assert found.pop("score") == found.pop("kept") > 0.5
    assert found.pop("year") >= datetime(2026, 1, 1, tzinfo=UTC).year
    assert found == {
        "unscored": "tests_unsupported",
        "refused": [422, "invalid_request", "run"],
        "counted": 2,
        "teacher": "static",
    }
