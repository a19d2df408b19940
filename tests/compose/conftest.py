"""Fixtures for the containers; without Docker every test here is skipped, and says so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack


@pytest.fixture(scope="session")
def docker() -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no Docker here: install Docker with compose 2.24 or newer")
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"Docker cannot be used here: {' '.join(command)} says "
                f"{done.stderr.strip().splitlines()[-1]}"
            )


@pytest.fixture(scope="module")
def plain(docker: None) -> Iterator[Stack]:
    """What `docker compose up` gives with nothing set."""
    with Stack() as stack:
        stack.up()
        yield stack


@pytest.fixture(scope="module")
def scaled(docker: None) -> Iterator[Stack]:
    """Three replicas behind nginx, and a teacher that sends bills."""
    with Stack("emulator.yaml", profiles=["scale"]) as stack:
        stack.up(within_s=180)
        yield stack
