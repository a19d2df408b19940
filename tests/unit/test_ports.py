"""`make up`: a port that is taken is said before anything is built."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from markbook.demo.processes import free_port
from tests.processes import ROOT

SCRIPT = ROOT / "deploy" / "ports.py"


def compose(*ports: dict[str, object]) -> str:
    return json.dumps({"services": {"scoring": {"ports": [*ports]}, "postgres": {}}})


def check(text: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT)], input=text, capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def published(port: int) -> dict[str, object]:
    return {"host_ip": "127.0.0.1", "target": 8000, "published": str(port), "protocol": "tcp"}


def test_a_free_port_and_a_taken_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = check(compose(published(port), published(free_port())))
    assert status == 1
    assert said == (
        f"scoring: 127.0.0.1 port {port}: Address already in use; choose another: "
        "MARKBOOK_PORT=8100 make up\n"
    )
    assert check(compose(published(port))) == (0, "")
    assert check(compose()) == (0, "")


@pytest.mark.parametrize(("running", "rc", "calls"), [("", 2, []), ("abc", 0, ["up"])])
def test_make_up_looks_at_the_port_first_unless_the_service_has_it_already(
    tmp_path: Path, running, rc, calls
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = compose(published(taken.getsockname()[1]))
        (tmp_path / "docker").write_text(
            "#!/bin/sh\n"
            f"case $2 in ps) echo '{running}';; config) echo '{config}';; *) echo $2 >> "
            f"{tmp_path}/calls;; esac\n"
        )
        (tmp_path / "docker").chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["make", "up"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == rc, done.stderr
    made = tmp_path / "calls"
    assert (made.read_text().split() if made.exists() else []) == calls
