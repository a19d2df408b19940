"""`training.generation: vllm`: the command, the process, and its end, also where the trainer is
killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
import torch

from markbook.config.loading import ConfigError, parse_config
from markbook.config.settings import Config, Training
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.rollout import vllm_server
from markbook.trainer.rollout.vllm import VllmSampler
from markbook.trainer.rollout.vllm_server import VllmServer, serve_command
from markbook.trainer.run import BAD_CONFIG, FINISHED
from tests.generation_server import VllmClient
from tests.processes import ROOT
from tests.tiny import tiny_model, tiny_policy
from tests.unit.trainer.rollout.test_rollout import TASKS
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_run import by_hash, lines

FAKE = f"""#!{sys.executable}
import http.server, json, os, pathlib, subprocess, sys
if "--crash" in sys.argv:
    lines = "Traceback (most recent call last):", "ValueError: there is no GPU", "cleaning up"
    print(*lines, sep=chr(10), flush=True)
    sys.exit(3)
child = subprocess.Popen(["sleep", "600"])
found = {{"pids": [os.getpid(), child.pid], "argv": sys.argv[1:], "environ": dict(os.environ)}}
pathlib.Path(__file__).with_name("found.json").write_text(json.dumps(found))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "--mute" in sys.argv else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
STAND_IN = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.generation_server import main
main(sys.argv[2], sys.argv[sys.argv.index("--port") + 1])
"""


def executable(folder, text):
    file = folder / "vllm"
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


def on(device, context=4096):
    """As much of a policy as the command is made of."""
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=context))
    return SimpleNamespace(device=torch.device(device), model=model)


def training(command, **more):
    return Training.model_validate(
        {"generation": "vllm", "vllm_command": command, "model": "owner/name"} | more
    )


@pytest.fixture
def server(tmp_path):
    """`server(**training)`: on FAKE, its lines in `said`; ended after the test."""
    made: list[VllmServer] = []
    command = executable(tmp_path, FAKE)

    def make(said: list[str] | None = None, **more) -> VllmServer:
        log = (said if said is not None else []).append
        made.append(
            VllmServer(on("cpu"), training(command, **more), tmp_path / "run" / "vllm.log", log)
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def found(tmp_path):
    return json.loads((tmp_path / "found.json").read_text())


def ended(pids):
    """Whether all of them end, in half a minute at most.

    Nobody may reap them: then they are zombies.
    """
    there = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(
        [each for each in there if each.status() != psutil.STATUS_ZOMBIE], timeout=30
    )
    return all(each.status() == psutil.STATUS_ZOMBIE for each in alive)


def test_the_command_on_a_cpu(tmp_path):
    command = executable(tmp_path, FAKE)
    arguments = serve_command(
        on("cpu"), training(command, lora_r=9, vllm_args=["--swap-space", "1"]), 8123
    )
    assert arguments == [
        command, "serve", "owner/name", "--host", "127.0.0.1", "--port", "8123",
        "--enable-lora", "--max-lora-rank", "16", "--logprobs-mode", "processed_logprobs",
        "--dtype", "float32", "--max-model-len", "1280", "--max-num-seqs", "64",
        "--uvicorn-log-level", "warning",
        "--enforce-eager", "--swap-space", "1",
    ]  # fmt: skip


@pytest.mark.parametrize("sleeps", [True, False])
def test_the_command_on_a_gpu(tmp_path, sleeps):
    settings = training(executable(tmp_path, FAKE), vllm_enable_sleep_mode=sleeps)
    arguments = serve_command(on("cuda"), settings, 8123)
    assert arguments[arguments.index("--dtype") + 1] == "bfloat16"
    assert arguments[arguments.index("--gpu-memory-utilization") + 1] == "0.3"
    assert ("--enable-sleep-mode" in arguments) == sleeps
    assert "--enforce-eager" not in arguments
    assert VllmServer(on("cuda"), settings, tmp_path / "vllm.log", print).sleeps == sleeps


@pytest.mark.parametrize(
    ("rank", "served"), [(1, "1"), (2, "8"), (8, "8"), (9, "16"), (257, "320"), (512, "512")]
)
def test_the_rank_is_the_next_that_vllm_takes(tmp_path, rank, served):
    arguments = serve_command(on("cpu"), training(executable(tmp_path, FAKE), lora_r=rank), 1)
    assert arguments[arguments.index("--max-lora-rank") + 1] == served


@pytest.mark.parametrize(("context", "length"), [(1279, "1279"), (1280, "1280"), (None, "1280")])
def test_the_length_is_at_most_the_models(tmp_path, context, length):
    arguments = serve_command(on("cpu", context), training(executable(tmp_path, FAKE)), 1)
    assert arguments[arguments.index("--max-model-len") + 1] == length


@pytest.mark.parametrize(
    ("model", "served"),
    [("owner/name", "owner/name"), ("bundled:smollm2-135m", "data/model"), ("own", "own")],
)
def test_a_folder_is_served_under_its_whole_path(tmp_path, monkeypatch, model, served):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/model", "own"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr("markbook.trainer.model.loading.bundled", lambda _: Path("data/model"))
    arguments = serve_command(on("cpu"), training(executable(tmp_path, FAKE), model=model), 1)
    assert arguments[2] == (served if model == "owner/name" else str(tmp_path / served))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"vllm_command": "no/such/vllm"},
            r"there is no command no/such/vllm: install vLLM in a venv of its own",
        ),
        ({"load_in_4bit": True}, r"does not serve training.load_in_4bit"),
        ({"lora_r": 513}, r"up to training.lora_r 512"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        VllmServer(
            on("cpu"), training(executable(tmp_path, FAKE), **more), tmp_path / "vllm.log", print
        )


def test_an_own_server_and_the_address_of_another_exclude_each_other():
    with pytest.raises(
        ConfigError, match=r"generation vllm starts a server of its own: set generation_url to null"
    ):
        parse_config(
            {"training": {"generation": "vllm", "generation_url": "http://127.0.0.1:8000"}}
        )


def test_it_starts_once_with_its_key_and_without_the_trainers_and_ends_with_its_children(
    server, tmp_path, monkeypatch
):
    for name in (
        "MARKBOOK_API_KEY",
        "ANTHROPIC_API_KEY",
        "RANK",
        "MASTER_PORT",
        "ACCELERATE_USE_CPU",
        "KEPT",
    ):
        monkeypatch.setenv(name, "1")
    said: list[str] = []
    started = server(said)
    started.start()
    first = found(tmp_path)
    started.start()
    assert found(tmp_path)["pids"] == first["pids"]
    assert said[0] == f"starting vLLM; its log is {tmp_path / 'run' / 'vllm.log'}"
    assert said[1].startswith("vLLM answers after ")
    assert started.url == f"http://127.0.0.1:{first['argv'][first['argv'].index('--port') + 1]}"
    environ = first["environ"]
    assert environ["VLLM_API_KEY"] == started.key
    assert started.key not in first["argv"]
    assert environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "VLLM_SERVER_DEV_MODE" not in environ  # nothing to sleep for on a CPU
    assert environ["KEPT"] == "1"
    assert not environ.keys() & {
        "MARKBOOK_API_KEY",
        "ANTHROPIC_API_KEY",
        "RANK",
        "MASTER_PORT",
        "ACCELERATE_USE_CPU",
    }
    started.close()
    assert ended(first["pids"])
    with pytest.raises(httpx.ConnectError):
        httpx.get(started.url, trust_env=False)


def test_one_that_ends_as_it_starts_is_an_error_with_its_last_words(server):
    with pytest.raises(
        ConfigError,
        match=r"^vLLM ended with status 3 as it started: ValueError: there is no GPU \(the rest is "
        r"in .*log\)$",
    ):
        server(vllm_args=["--crash"]).start()


def test_one_that_never_answers_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_server, "PROGRESS_S", 0.0)
    said: list[str] = []
    mute = server(said, vllm_args=["--mute"], generation_wait_s=1.0)
    with pytest.raises(
        ServiceTimeoutError, match=r"within training.generation_wait_s \(1 s\): see .*vllm.log"
    ):
        mute.start()
    assert "waiting for vLLM: 0 s" in said
    mute.close()
    assert ended(found(tmp_path)["pids"])


def test_one_that_was_killed_is_started_again_on_its_port(server, tmp_path):
    said: list[str] = []
    started = server(said)
    started.start()
    assert not started.restart_if_ended()
    first = found(tmp_path)
    os.kill(first["pids"][0], signal.SIGKILL)
    started._process.wait()
    assert ended(first["pids"])  # what it had started as well
    assert started.restart_if_ended()
    assert said[-1].startswith("vLLM ended with status 137: starting it again")
    assert f"http://127.0.0.1:{first['argv'][5]}" == started.url


def test_it_ends_with_a_trainer_that_is_killed(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from tests.unit.trainer.test_vllm_server import VllmServer, on, training\n"
        "from pathlib import Path\n"
        f"VllmServer(on('cpu'), training({executable(tmp_path, FAKE)!r}), Path('vllm.log'), "
        "print).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ended(found(tmp_path)["pids"])


def test_where_it_can_it_sleeps_between_the_samples_of_two_batches(tmp_path):
    with VllmClient(tiny_model(), key="secret") as stand_in:
        own = SimpleNamespace(
            url=stand_in.url,
            key="secret",
            sleeps=True,
            start=lambda: None,
            restart_if_ended=lambda: False,
        )
        config = Config.model_validate(
            {"training": {"max_new_tokens": 3, "generation": "vllm"}, "rlaif": {"run": "r"}}
        )
        policy = tiny_policy()
        sampler = VllmSampler(policy, config, tmp_path / "generation", print, own)
        assert len(dict(sampler.groups(TASKS[:1], 2, (0, 1)))) == 1
        assert stand_in.calls == ["load", "sleep 1"]
        policy.updates += 1
        list(sampler.groups(TASKS[:1], 2, (0, 2)))
        assert stand_in.calls == ["load", "sleep 1", "wake_up", "load", "sleep 1"]
        own.sleeps = False
        list(sampler.groups(TASKS[:1], 2, (0, 3)))
        assert stand_in.calls[5:] == ["wake_up"]


@pytest.mark.long
def test_a_whole_run_starts_and_ends_its_server(run, tmp_path):
    settings = {
        "generation": "vllm",
        "vllm_command": executable(tmp_path, STAND_IN),
        "eval_tasks": None,
    }
    with StubService(by_hash) as service:
        assert run(service, settings) == FINISHED
    first, second = lines(tmp_path / "run" / "metrics.jsonl")
    assert 0 < max(first["log_prob_gap"], second["log_prob_gap"]) < 1e-4
    assert (first["policy_lag"], second["policy_lag"]) == (0, 0)
    assert "serving on http://127.0.0.1:" in (tmp_path / "run" / "vllm.log").read_text()
    assert not [
        each
        for each in psutil.Process().children(recursive=True)
        if "vllm_guard" in " ".join(each.cmdline())
    ]


def test_a_run_without_vllm_ends_with_a_line(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        assert run(service, {"generation": "vllm", "vllm_command": "nowhere/vllm"}) == BAD_CONFIG
    assert capsys.readouterr().err.startswith(
        "training.generation is vllm, and there is no command nowhere/vllm"
    )
    assert not (tmp_path / "run" / "vllm.log").exists()
