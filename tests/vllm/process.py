"""`vllm serve` of build/vllm-venv as a process on the CPU, for tests."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
import torch

from tests.processes import ROOT, clean_environment

VERSION = "0.32.0"
VENV = ROOT / "build" / "vllm-venv"
MODEL = "base"
"""Under which name the model itself is served."""
ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
"""GiB for the key-value cache, and threads wherever there is a core free: the tests' own
processes need some too.
"""


def executable() -> str:
    """The `vllm` of build/vllm-venv; where there is none, the test is skipped."""
    if not (VENV / "installed").exists():
        pytest.skip(
            "build/vllm-venv is missing: `make vllm-test` makes it where the package index can be "
            "reached"
        )
    if torch.version.cuda:
        pytest.skip(
            f"vllm-cpu {VERSION} requires the build of torch for the CPU, and this one is for CUDA"
        )
    return str(VENV / "bin" / "vllm")


class VllmProcess:
    """Serves the model in `folder` as MODEL, with adapters that are loaded while it runs; its
    log is in `log_file`.
    """

    def __init__(self, folder: Path, log_file: Path) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log_file = log_file
        self._command = [
            executable(), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port),
            "--served-model-name", MODEL, "--enable-lora", "--max-lora-rank", "16",
            "--logprobs-mode", "processed_logprobs", "--dtype", "float32", "--max-model-len",
            "2048", "--enforce-eager",
            "--uvicorn-log-level", "warning",
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        environment = clean_environment(**ON_CPU, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True")
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        while not self._answers():
            assert self._process.poll() is None, self.log_file.read_text()

    def _answers(self) -> bool:
        """Whether it does; where it does not yet, this takes half a second."""
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.RequestError:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            return False

    def models(self) -> list[str]:
        response = httpx.get(f"{self.url}/v1/models", trust_env=False).raise_for_status()
        return [model["id"] for model in response.json()["data"]]

    def resident_mib(self) -> float:
        """Memory of the server and its workers."""
        server = psutil.Process(self._process.pid)
        return (
            sum(each.memory_info().rss for each in (server, *server.children(recursive=True)))
            / 2**20
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        server = psutil.Process(self._process.pid)
        started = server.children(recursive=True)
        self._process.send_signal(how)
        self._process.wait()
        _, alive = psutil.wait_procs(started, timeout=10 if how is signal.SIGTERM else 0)
        for each in alive:
            each.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
