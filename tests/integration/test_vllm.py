"""vLLM itself, on the CPU: as the server that generates samples, as the trainer's own child, and as
the teacher.

It runs from build/vllm-venv, which `make vllm-test` makes; without it these tests are skipped. One
server serves all of them but those of `training.generation: vllm`. The model is SmolLM2-135M, which
comes in a wheel.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import torch

from markbook.config.settings import Config, TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure
from markbook.trainer.model.bundled import bundled
from markbook.trainer.model.loading import load_student
from markbook.trainer.model.policy import Policy
from markbook.trainer.rollout.vllm import VllmSampler
from markbook.trainer.types import Sample, Task
from tests.fakes import asked
from tests.integration.test_trainer_end_to_end import TrainerProcess
from tests.tiny import move_adapter
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_run import by_hash
from tests.vllm.process import MODEL, ON_CPU, VERSION, VllmProcess, executable

pytestmark = pytest.mark.vllm
FLOAT_NOISE = 1e-4
"""Nats a token between vLLM and the trainer; measured are 4e-6."""
MOVED_NOISE = 1e-3
"""The same with an adapter of random numbers, which makes larger activations; other adapters are
nats away.
"""
ADAPTERS, WARM = 50, 10
GROWTH_MIB = 60
"""Below what 40 adapters take that are not unloaded: each has 4.6 MiB."""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model; converting it takes a quarter of a minute."""
    executable()
    folder = tmp_path_factory.mktemp("smollm2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return bundled("bundled:smollm2-135m").absolute()


@pytest.fixture(scope="module")
def server(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    with VllmProcess(student, tmp_path_factory.mktemp("vllm") / "vllm.log") as started:
        yield started


def steps_of(trainer: TrainerProcess) -> list[dict]:
    return [line for line in trainer.read("metrics.jsonl") if "skipped" in line]


def test_the_version(server):
    response = httpx.get(f"{server.url}/version", trust_env=False)
    assert response.json()["version"].startswith(VERSION)


def test_steps_on_samples_of_vllm_have_the_policys_own_log_probabilities(server, student, tmp_path):
    with StubService(by_hash) as service:
        trainer = TrainerProcess(
            tmp_path, service.url, 3, model=str(student), generation_url=server.url, eval_tasks=None
        )
        assert trainer.finish(timeout_s=600) == 0, "\n".join(trainer.lines)
    steps = steps_of(trainer)
    assert [line["skipped"] for line in steps] == [None] * 3
    assert [line["policy_lag"] for line in steps] == [0] * 3
    assert all(0 < line["log_prob_gap"] < FLOAT_NOISE for line in steps)
    assert all(abs(line["ratio_max"] - 1) < 1e-3 for line in steps)
    [adapter] = [name for name in server.models() if name.startswith("end-to-end@")]
    assert adapter.startswith("end-to-end@2.")


def test_a_server_that_is_killed_and_started_anew_gets_the_adapter_again(server, student, tmp_path):
    with StubService(by_hash) as service:
        trainer = TrainerProcess(
            tmp_path, service.url, 4, model=str(student), generation_url=server.url,
            generation_wait_s=600.0,
            eval_tasks=None,
        )  # fmt: skip
        trainer.read_until("step 1/")
        server.stop(signal.SIGKILL)
        trainer.read_until("the generation server at")
        server.start()
        assert trainer.finish(timeout_s=600) == 0, "\n".join(trainer.lines)
    assert "the generation server answers again" in trainer.lines
    steps = steps_of(trainer)
    assert [line["skipped"] for line in steps] == [None] * 4
    assert all(0 < line["log_prob_gap"] < FLOAT_NOISE for line in steps)
    assert len(trainer.read("samples.jsonl")) == 4 * 2 * 4


def test_adapters_of_many_steps_are_unloaded_and_memory_holds(server, student, tmp_path):
    training = {
        "model": str(student), "generation_url": server.url, "max_new_tokens": 4, "lora_r": 4,
        "device": "cpu",
    }  # fmt: skip
    config = Config.model_validate({"training": training, "rlaif": {"run": "many"}})
    policy = Policy(*load_student(config.training))
    sampler = VllmSampler(policy, config, tmp_path / "generation", print)
    task = Task(0, "", "python", tuple(policy.tokenizer("def add(a, b):\n")["input_ids"]))
    used: list[float] = []
    for update in range(1, ADAPTERS + 1):
        move_adapter(policy, seed=update)
        policy.updates = update
        [(_, samples)] = sampler.groups([task], 2, (0, update))
        served = [name for name in server.models() if name.startswith("many@")]
        assert [name.split(".")[0] for name in served] == [f"many@{update}"]
        assert gap(policy, samples, config) < MOVED_NOISE
        used.append(server.resident_mib())
    assert used[-1] - used[WARM - 1] < GROWTH_MIB
    assert len(list((tmp_path / "generation").iterdir())) == 1


@torch.no_grad()
def gap(policy: Policy, samples: list[Sample], config: Config) -> float:
    theirs = torch.tensor([value for sample in samples for value in sample.log_probs])
    return float(
        (policy.log_probs(samples, config.rlaif.generation_temperature) - theirs).abs().mean()
    )


def own_server(trainer: TrainerProcess) -> list[psutil.Process]:
    """The trainer's vllm_guard and everything below it."""
    return psutil.Process(trainer.process.pid).children(recursive=True)


def test_the_trainers_own_server_is_restarted_when_it_dies_and_ends_with_a_killed_trainer(
    student, tmp_path, monkeypatch
):
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)
    with StubService(by_hash) as service:
        trainer = TrainerProcess(
            tmp_path, service.url, 1000, rlaif={"max_staleness": 1}, model=str(student),
            generation="vllm",
            vllm_command=executable(), eval_tasks=None, max_prompt_tokens=256,
            save_every_steps=1000,
        )  # fmt: skip
        try:
            trainer.read_until("step 2/")
            [command] = [
                each for each in own_server(trainer) if " serve " in " ".join(each.cmdline()[:4])
            ]
            command.kill()
            trainer.read_until("vLLM ended with status 137: starting it again")
            trainer.read_until("the generation server answers again")
            trainer.read_until("step ")
            started = own_server(trainer)
        finally:
            trainer.process.kill()
            trainer.finish()
    assert len(started) >= 3  # what watches it, the server, its engine
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    steps = steps_of(trainer)
    assert [line["policy_lag"] for line in steps[:3]] == [0, 1, 1]
    assert all(line["log_prob_gap"] < 0.5 for line in steps)
    logged = (trainer.run_dir / "vllm.log").read_text()
    assert (
        len(set(re.findall(r"\(APIServer pid=(\d+)\)", logged))) == 2
    )  # the first and its successor


CODES = ("def add(a, b):\n    return a + b", "def add(a, b):\n    return a - b")


def teacher_on(server: VllmProcess, **config: object) -> AnthropicTeacher:
    patience = {"timeout_s": 300.0, "attempt_timeout_s": 300.0}
    on_server = {"name": "anthropic", "model": MODEL, "base_url": server.url}
    settings = TeacherConfig.model_validate(on_server | patience | config)
    return AnthropicTeacher(settings, load_rubric(), api_key="any")


async def test_prose_of_a_small_model_is_no_mark(server):
    teacher = teacher_on(server, constrain="off")
    reply = await asked(teacher, Group("g", "Write add.", "python", CODES))
    await teacher.close()
    for outcome in reply.outcomes:
        assert isinstance(outcome, ScoringFailure)
        assert outcome.code in (ErrorCode.REPLY_UNREADABLE, ErrorCode.REPLY_TRUNCATED)
    assert all(call.input_tokens > 400 and call.output_tokens > 0 for call in reply.calls)
    assert len(reply.calls) == 3  # the group, then each alone


async def test_held_to_a_schema_the_same_model_gives_marks(server):
    """Unless it writes blanks, which JSON allows, to the end of its tokens."""
    teacher = teacher_on(server)
    outcomes = [
        outcome
        for number in range(4)
        for outcome in (
            await asked(teacher, Group(f"g{number}", "Write add.", "python", CODES))
        ).outcomes
    ]
    await teacher.close()
    judged = [outcome for outcome in outcomes if isinstance(outcome, Judgment)]
    assert len(judged) >= 4
    assert all(0 <= mark <= 1 for outcome in judged for mark in outcome.criteria.values())
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ScoringFailure)} <= {
        ErrorCode.REPLY_TRUNCATED
    }


async def test_what_does_not_fit_its_context_names_the_settings(server):
    teacher = teacher_on(server, thinking_tokens=2048)
    reply = await asked(teacher, Group("g", "Write add.", "python", CODES))
    await teacher.close()
    for outcome in reply.outcomes:
        assert isinstance(outcome, ScoringFailure)
        assert outcome.code is ErrorCode.TEACHER_REJECTED
        assert "lower teacher.thinking_tokens" in outcome.detail
