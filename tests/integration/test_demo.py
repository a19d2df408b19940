"""The demo with a tiny student: real processes, real signals, nothing left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.tiny import save_tiny_student

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    save_tiny_student(tmp_path / "student")
    settings = {
        "training": {
            "model": str(tmp_path / "student"),
            "device": "cpu",
            "max_steps": 1,
            "prompts_per_step": 1,
            "max_new_tokens": 8,
            "eval_samples_per_task": 1,
            "output_dir": str(tmp_path / "runs"),
        },
        "rlaif": {"num_samples_per_prompt": 2},
        "store": {"database_url": f"sqlite:///{tmp_path / 'book.db'}"},
    }
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


@pytest.fixture
def start(config: Path) -> Iterator[Start]:
    """Starts the demo; whatever becomes of the test, the demo is told to stop and stops its
    processes.
    """
    started: list[subprocess.Popen[str]] = []

    def begin(**training: object) -> subprocess.Popen[str]:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        settings["training"] |= training
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "markbook.demo", "--config", str(config), "--seed", "5"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            print(process.communicate()[0])


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            return seen
    pytest.fail(f"ended without {word!r}:\n{seen}")


def finish(process: subprocess.Popen[str]) -> str:
    """The rest of its output, up to the end of the pipe, which its trainer holds open too: both
    have ended then.
    """
    output, _ = process.communicate(timeout=120)
    return output


def assert_nothing_listens(output: str) -> None:
    address = output.split("ready at http://")[1].split()[0]
    host, port = address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


@pytest.mark.long
def test_it_runs_again_and_beside_a_taken_port(start: Start, tmp_path: Path):
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # taken by somebody else is as good
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        outputs = []
        for _ in range(2):
            process = start()
            outputs.append(finish(process))
            assert process.returncode == 0, outputs[-1]
    for output in outputs:
        assert "offline stub" in output
        assert "mean mark" in output
        assert_nothing_listens(output)
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert {"metrics.jsonl", "samples.jsonl", "reward.png", "config.yaml", "adapter"} <= names


@pytest.mark.parametrize(
    "whole_group",
    [
        pytest.param(True, id="as the terminal does"),
        pytest.param(False, id="to the demo alone", marks=pytest.mark.long),
    ],
)
def test_ctrl_c_stops_both_processes_and_leaves_a_usable_folder(
    start: Start, tmp_path: Path, whole_group: bool
):
    process = start(max_steps=1_000_000)
    output = read_until(process, "step 2/")
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    output += finish(process)
    assert process.returncode == 130, output
    assert_nothing_listens(output)
    assert "stopped on request" in output
    assert "to continue it, start its service again: markbook serve --config" in output
    assert "Traceback" not in output
    (folder,) = (tmp_path / "runs").iterdir()
    assert (
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))["ended"] == "interrupted"
    )
    assert (folder / "adapter" / "adapter_config.json").exists()
    assert len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) >= 2
    assert "Finished server process" in (folder / "service.log").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_trainers_exit_code_passes_through(start: Start):
    process = start(tasks="no-such-file.jsonl")
    output = finish(process)
    assert process.returncode == 2, output
    assert "no-such-file.jsonl" in output
    assert_nothing_listens(output)
