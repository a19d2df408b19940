"""docker-compose.yml as a project of its own: its own name, ports and volumes, and none of the
caller's settings.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self, Unpack

from markbook.client import ScoringClient
from markbook.client.options import Options
from markbook.demo.processes import free_port
from tests.processes import ROOT, clean_environment

HERE = Path(__file__).parent


class Stack:
    """`with Stack() as stack:` builds the images; afterwards containers, networks and volumes
    are removed.
    """

    def __init__(self, *overlays: str, profiles: Sequence[str] = (), **environment: str) -> None:
        files = [
            ROOT / "docker-compose.yml",
            HERE / "clean.yaml",
            *(HERE / name for name in overlays),
        ]
        self.project = f"markbook-test-{uuid.uuid4().hex[:8]}"
        self._command = ["docker", "compose", "--env-file", os.devnull, "-p", self.project]
        self._command += [f"--file={file}" for file in files] + [
            f"--profile={name}" for name in profiles
        ]
        self.port, self.balancer_port, self.emulator_port = free_port(), free_port(), free_port()
        self.environment = clean_environment(
            MARKBOOK_PORT=str(self.port),
            MARKBOOK_BALANCER_PORT=str(self.balancer_port),
            EMULATOR_PORT=str(self.emulator_port),
            **environment,
        )

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """`docker compose ARGUMENTS`: its output and errors, without the space around them."""
        status, said = self._run(*arguments)
        assert (status != 0) == fails, f"docker compose {' '.join(arguments)}:\n{said}"
        return said

    def up(self, *services: str, within_s: int = 60) -> None:
        """Returns once all are healthy."""
        status, said = self._run(
            "up", "--detach", "--wait", f"--wait-timeout={within_s}", *services
        )
        assert status == 0, (
            f"{said}\n{self._run('ps', '--all')[1]}\n{self._run('logs', '--tail=20')[1]}"
        )

    def _run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        return done.returncode, done.stdout.strip()

    def containers(self, service: str) -> list[str]:
        return self("ps", "--all", "--quiet", service).split()

    def client(self, **options: Unpack[Options]) -> ScoringClient:
        return ScoringClient(f"http://127.0.0.1:{self.port}", **options)

    def through_balancer(self) -> ScoringClient:
        return ScoringClient(f"http://127.0.0.1:{self.balancer_port}")

    def __enter__(self) -> Self:
        self("build", "scoring")
        return self

    def __exit__(self, *_: object) -> None:
        self("down", "--volumes", "--remove-orphans", "--timeout=10")


def inspect(thing: str, form: str) -> str:
    """`docker inspect` of a container or an image, by a template."""
    return subprocess.run(
        ["docker", "inspect", f"--format={form}", thing], capture_output=True, text=True, check=True
    ).stdout.strip()


def kill(*containers: str) -> None:
    """SIGKILL; they stay down until they are started again."""
    subprocess.run(["docker", "kill", *containers], capture_output=True, check=True)
