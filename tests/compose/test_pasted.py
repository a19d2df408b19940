"""The commands of docs/operating.md that ask containers, pasted into a shell: without keys, with
one, and after it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compose.stack import HERE, Stack
from tests.compose.test_scale import until
from tests.processes import ROOT

pytestmark = pytest.mark.compose

OPERATING = (ROOT / "docs" / "operating.md").read_text()


def written(start: str) -> str:
    """The one command of the document that begins so, with its comment."""
    [command] = re.findall(rf"^{re.escape(start)}.*$", OPERATING, re.MULTILINE)
    return str(command)


@pytest.fixture
def paste(plain: Stack, tmp_path: Path):
    shutil.copytree(ROOT / "demo" / "tasks", tmp_path / "tasks")
    files = [str(ROOT / "docker-compose.yml"), str(HERE / "clean.yaml")]
    environment = {
        **plain.environment,
        "COMPOSE_PROJECT_NAME": plain.project,
        "COMPOSE_FILE": ":".join(files),
        "COMPOSE_ENV_FILES": os.devnull,
    }

    def run(command: str, *, fails: bool | None = False, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert fails in (None, done.returncode != 0), f"{command}\n{done.stdout}"
        return done.stdout

    return run


def test_every_command_works_before_with_and_after_keys(paste):
    stats = written("docker compose exec -e MARKBOOK_API_KEY scoring")
    estimate = written('docker compose run --rm -v "$PWD/tasks":/app/tasks:ro scoring estimate')
    assert "no judge" in paste(stats)
    assert "$" in paste(estimate)
    # standard error is in it, too, and may follow without a line's end
    [key] = re.findall(
        r"^mb_[\w-]{43}",
        paste(written("docker compose run --rm scoring keys add NAME")),
        re.MULTILINE,
    )
    until(lambda: "an API key is required" in paste(stats, fails=None))
    assert "key NAME" in paste(stats, MARKBOOK_API_KEY=key)
    assert "team-a/*" in paste(written("docker compose run --rm scoring keys list"))
    assert "every request is refused until one is added" in paste(
        written("docker compose run --rm scoring keys revoke")
    )
    paste(written("docker compose exec -T postgres psql -U markbook -c 'DELETE FROM api_keys'"))
    until(lambda: "no judge" in paste(stats, fails=None))


def test_what_is_built_here_is_asked_of_no_registry(paste):
    said = paste("docker compose up --detach --wait")
    assert "pull" not in said.lower(), said
