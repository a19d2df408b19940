"""`training.generation: vllm`: a `vllm serve` of the trainer's own, on this machine, for as long as
the trainer runs.

Source: https://docs.vllm.ai, "vllm serve", "LoRA Adapters" and "Sleep Mode". Run with vLLM 0.32.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from markbook.config.loading import ConfigError
from markbook.config.settings import Training
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.model.loading import model_source, resolve_dtype
from markbook.trainer.model.policy import Policy
from markbook.trainer.rollout import vllm_guard

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""
POLL_S = 0.2
PROGRESS_S = 15.0
"""Seconds between lines while the server comes up."""
STOP_S = vllm_guard.STOP_S + 5.0

_NOT_FOR_A_CHILD = re.compile(
    # keys; and what a launcher sets for the processes of the trainer
    r"MARKBOOK_.*|ANTHROPIC_.*|RANK|WORLD_SIZE|LOCAL_.*|GROUP_.*|ROLE_.*|MASTER_.*|TORCHELASTIC_.*|ACCELERATE_.*"
)


class VllmServer:
    """Makes its command at once and starts it with the first `start()`.

    It ends with `close()`, or with the trainer.

    Raises ConfigError where vLLM is not installed, or cannot serve the model of `training`.
    `log_file` gets what the server prints, `log` a line now and then until it answers.
    """

    def __init__(
        self, policy: Policy, training: Training, log_file: Path, log: Callable[[str], None]
    ) -> None:
        self._log_file, self._say = log_file, log
        self._wait_s = training.generation_wait_s
        self.sleeps = policy.device.type == "cuda" and training.vllm_enable_sleep_mode
        self.key = secrets.token_urlsafe(32)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = serve_command(policy, training, port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers.

        Raises ConfigError where it ends instead, ServiceTimeoutError after
        `training.generation_wait_s`.
        """
        if self._process is not None:
            return
        self._launch()
        self._say(f"starting vLLM; its log is {self._log_file}")
        started = said = time.monotonic()
        while not self._answers():
            now = time.monotonic()
            if (status := self._exit_status()) is not None:
                raise ConfigError(
                    f"vLLM ended with status {status} as it started: {self._last_error()}"
                )
            if now - started > self._wait_s:
                raise ServiceTimeoutError(
                    f"vLLM did not come up within training.generation_wait_s ({self._wait_s:g} s): "
                    f"see {self._log_file}"
                )
            if now - said >= PROGRESS_S:
                said = now
                self._say(f"waiting for vLLM: {now - started:.0f} s")
            time.sleep(POLL_S)
        self._say(f"vLLM answers after {time.monotonic() - started:.0f} s")

    def restart_if_ended(self) -> bool:
        """Start the server again where it has ended, without waiting for it.

        Returns whether it had.
        """
        status = self._exit_status()
        if status is None:
            return False
        self._say(
            f"vLLM ended with status {status}: starting it again; its log is {self._log_file}"
        )
        self.close()
        self._launch()
        return True

    def close(self) -> None:
        """End the server, and with it whatever it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _launch(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            # its stdin is a pipe that ends with this process; a session of its own, so that Ctrl-C
            # reaches the trainer alone, which stops the server when the run is saved
            self._process = subprocess.Popen(
                [sys.executable, "-m", vllm_guard.__name__, *self._command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not _NOT_FOR_A_CHILD.fullmatch(name)
        }
        own = {
            # here and not in the command, which other users of the machine can read
            "VLLM_API_KEY": self.key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
        }
        return inherited | own | ({"VLLM_SERVER_DEV_MODE": "1"} if self.sleeps else {})

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=POLL_S * 10).is_success
        except httpx.RequestError:
            return False

    def _exit_status(self) -> int | None:
        return self._process.poll() if self._process else None

    def _last_error(self) -> str:
        """The last line of the log that names an error, else its last line, and where the rest
        is.
        """
        lines = [
            line
            for line in self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            if line
        ]
        errors = [line for line in lines if re.search(r"\w(Error|Exception)\b|\berror:", line)]
        last = " ".join([*lines[-1:], *errors[-1:]][-1:])[-300:].strip()
        return f"{last} (the rest is in {self._log_file})"


def serve_command(policy: Policy, training: Training, port: int) -> list[str]:
    """`vllm serve` for the student of `training`, with room for its adapter and its longest sample.

    Raises ConfigError where there is no such command, and for what vLLM cannot serve.
    """
    command = training.vllm_command
    executable = shutil.which(
        str(Path(command).expanduser()) if command.startswith("~") else command
    )
    if executable is None:
        raise ConfigError(
            f"training.generation is vllm, and there is no command {command}: install vLLM in a "
            "venv of its own, and set training.vllm_command to the bin/vllm in it"
        )
    if training.load_in_4bit:
        raise ConfigError(
            "training.generation vllm does not serve training.load_in_4bit: set generation to hf"
        )
    if training.lora_r > RANKS[-1]:
        raise ConfigError(
            f"training.generation vllm serves adapters up to training.lora_r {RANKS[-1]}"
        )
    source = model_source(training)
    context = getattr(policy.model.config, "max_position_embeddings", None)
    length = training.max_prompt_tokens + training.max_new_tokens
    dtype = str(resolve_dtype(training.dtype, policy.device)).removeprefix("torch.")
    on_device = ["--enforce-eager"]  # compiling takes longer than it saves
    if policy.device.type == "cuda":
        on_device = ["--gpu-memory-utilization", f"{training.vllm_gpu_memory_utilization:g}"]
        on_device += ["--enable-sleep-mode"] if training.vllm_enable_sleep_mode else []
    return [
        *(executable, "serve", str(Path(source).absolute()) if Path(source).is_dir() else source),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(
            "--enable-lora",
            "--max-lora-rank",
            str(next(rank for rank in RANKS if rank >= training.lora_r)),
        ),
        *("--logprobs-mode", "processed_logprobs"),
        *("--dtype", dtype, "--max-model-len", str(min(length, context or length))),
        *("--max-num-seqs", str(training.generation_batch_size)),
        *("--uvicorn-log-level", "warning"),
        *on_device,
        *training.vllm_args,
    ]


def _free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port
