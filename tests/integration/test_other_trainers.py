"""verl, OpenRLHF, verifiers, SkyRL and ms-swift: their own reward code on our adapters, over HTTP
to a real service.

Each runs in build/trainers-venv, which `make test-long` makes; without it these tests are skipped.
The teacher is the emulator: it marks by a hash of the code, and refuses where a test says so. What
each trainer makes of a missing mark must not be a number.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from markbook.contract import Source
from tests.emulator import faults, judges
from tests.emulator.server import Emulator
from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.tiny import tiny_tokenizer

pytestmark = pytest.mark.long
GROUP = 8
CODES = [
    f"def area(width, height):\n    return width * height + {number}" for number in range(GROUP)
]
WEIGHTS = (0.3, 0.3, 0.2, 0.2)


def marks_of(codes: list[str]) -> list[float]:
    """What the emulator's judge gives each code, weighted by hand."""
    marks = [judges.marks_for(code) for code in codes]
    return [
        sum(weight * mark / 100 for weight, mark in zip(WEIGHTS, each, strict=True))
        for each in marks
    ]


TRUE = marks_of(CODES)
REFUSED = "teacher_refused"
MANAGERS = ("naive", "dapo", "gdpo", "rate_limited")
MAX_CALLS = 2
"""Teacher calls for a group of eight in verl, whose requests the service gathers: 1, on a busy
machine 2.
"""

one_sample_per_call = pytest.mark.parametrize(
    "service", [{"MARKBOOK_TEACHER__MAX_GROUP_SIZE": "1"}], indirect=True
)
"""So that a fault of the emulator is that of one sample."""


@pytest.fixture(scope="module")
def trainers() -> str:
    """The Python that has the other trainers."""
    folder = ROOT / "build" / "trainers-venv"
    if not (folder / "installed").exists():
        pytest.skip(
            "build/trainers-venv is missing: `make test-long` makes it where the package index can "
            "be reached"
        )
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tokenizer and the configuration of a model."""
    folder = tmp_path_factory.mktemp("student")
    tiny_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return str(folder)


@pytest.fixture
def service(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path
) -> Iterator[ServiceProcess]:
    environment = {
        **getattr(request, "param", {}),
        "MARKBOOK_TEACHER": "anthropic",
        "MARKBOOK_TEACHER__BASE_URL": emulator.url,
        "ANTHROPIC_API_KEY": "test-key",
    }
    with ServiceProcess(f"sqlite:///{tmp_path / 'marks.db'}", **environment) as started:
        yield started


@pytest.fixture
def run(trainers: str, service: ServiceProcess):
    """`run(program, **options)`: what the program of tests/trainers found."""

    def started(program: str, **options: Any) -> dict[str, Any]:
        done = subprocess.run(
            [
                trainers,
                "-m",
                f"tests.trainers.{program}",
                json.dumps({"url": service.url, "codes": CODES, **options}),
            ],
            cwd=ROOT,
            env=clean_environment(
                PYTHONWARNINGS="ignore", RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0"
            ),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return started


def test_verl_group_of_eight_costs_so_many_teacher_calls(run, emulator, student):
    found = run("verl_rewards", rounds=[{"manager": "naive", "codes": CODES}], student=student)
    assert found["rewards"] == [pytest.approx(TRUE, abs=1e-6)]
    assert 1 <= len(emulator.log) <= MAX_CALLS


@one_sample_per_call
def test_verl_rewards_are_the_marks_and_a_missing_one_is_an_error(run, emulator, student):
    """Each manager scores a group, then another, of which the teacher refuses the fourth
    request.
    """
    rounds = [
        {
            "manager": manager,
            "codes": [f"{code} * {number}{other}" for code in CODES],
            "reward": {"max_concurrent": 4},
        }
        for number, manager in enumerate(MANAGERS, start=1)
        for other in (1, 2)
    ]
    good, one_refused = [None] * GROUP, [*[None] * 3, "refusal", *[None] * (GROUP - 4)]
    emulator.settings.faults = faults.script(*([*good, *one_refused] * len(MANAGERS)))
    found = run("verl_rewards", rounds=rounds, student=student)
    assert found["version"] == "0.9.1"
    for number, (each, rewards) in enumerate(zip(rounds, found["rewards"], strict=True)):
        missing = [place for place, reward in enumerate(rewards) if not isinstance(reward, float)]
        assert len(missing) == number % 2
        for place, (reward, mark) in enumerate(zip(rewards, marks_of(each["codes"]), strict=True)):
            if place in missing:
                assert reward.startswith("NoRewardError: a sample of markbook/test has no mark")
                assert REFUSED in reward
            else:
                assert reward == pytest.approx(mark, abs=1e-6)


def test_verl_makes_a_number_of_an_ordinary_exception_and_of_its_timeout(run, student):
    """Why the adapter raises what is not an Exception, and answers a cancellation with it."""
    common = {"manager": "rate_limited", "codes": CODES[:1]}
    away = {"url": "http://127.0.0.1:9", "wait_s": 60.0, "reward": {"timeout": 0.5}}
    rounds = [{**common, "control": True}, {**common, **away}]
    [ordinary], [missing] = run("verl_rewards", rounds=rounds, student=student)["rewards"]
    assert ordinary == 0.0
    assert missing == (
        "NoRewardError: a sample of markbook/test has no mark: cancelled; set reward.timeout above "
        "60 s (wait_s)"
    )


@one_sample_per_call
def test_verl_workers_in_other_processes_outlive_a_missing_mark(run, emulator, student, service):
    emulator.settings.faults = faults.script(None, None, None, "refusal")
    found = run(
        "verl_rewards", rounds=[{"manager": "naive", "codes": CODES, "ray": True}], student=student
    )
    [missing] = [reward for reward in found["rewards"][0] if not isinstance(reward, float)]
    assert missing.startswith("RayTaskError(NoRewardError)")
    assert REFUSED in missing
    # the batch is scored after that by the same workers: seven marks from the cache, the refused
    # one again
    assert found["batch"] == pytest.approx(TRUE, abs=1e-6)
    assert len(emulator.log) == GROUP + 1
    with service.client() as client:
        counted = client.stats("verl").runs["verl"]
    assert (counted.samples, counted.unscored, counted.by_source[Source.CACHE]) == (
        2 * GROUP,
        1,
        GROUP - 1,
    )


def test_openrlhf_reads_the_marks_and_leaves_a_missing_one_empty(run, emulator, student, service):
    url = f"{service.url}/get_reward?run=openrlhf&language=python"
    found = run("openrlhf_rewards", url=url, student=student, codes=CODES[:2])
    assert found["version"] == "0.11.2"
    assert [each["reward"] for each in found["outputs"]] == [
        pytest.approx([mark]) for mark in TRUE[:2]
    ]
    assert found["outputs"][0]["extra_logs"] == {
        "markbook_cached": [0.0],
        "markbook_heuristic": [0.0],
    }
    emulator.settings.faults = faults.always(["refusal"])
    [cached, missing] = run(
        "openrlhf_rewards", url=url, student=student, codes=[CODES[0], CODES[2]]
    )["outputs"]
    assert cached["reward"] == pytest.approx(TRUE[:1])
    assert missing == {"reward": None, "scores": None, "extra_logs": {}}


@one_sample_per_call
@pytest.mark.parametrize(
    ("via", "name", "weight"), [("reward", "markbook", 1.0), ("judge", "markbook", 0.5)]
)
def test_verifiers_records_the_mark_and_a_missing_one_as_an_error(run, emulator, via, name, weight):
    found = run("verifiers_rewards", via=via, codes=CODES[:3])
    assert found["version"] == "0.4.0"
    for trace, mark in zip(found["traces"], TRUE[:3], strict=True):
        assert trace == {
            "ok": True,
            "rewards": {name: [pytest.approx(mark, abs=1e-6), weight]},
            "error": None,
        }
    emulator.settings.faults = faults.script(None, "refusal")
    traces = run("verifiers_rewards", via=via, codes=CODES[3:6])["traces"]
    [missing] = [trace for trace in traces if not trace["ok"]]
    assert missing["rewards"] == {name: None}
    assert "NoMarksError: 1 of 1 samples have no mark" in missing["error"]
    assert REFUSED in missing["error"]


def test_skyrl_steps_give_the_mark_and_raise_for_a_missing_one(run, emulator):
    found = run("skyrl_rewards", codes=CODES[:2])
    assert found["version"] == "0.4.0"
    for step, mark in zip(found["steps"], TRUE[:2], strict=True):
        assert step == {"observations": [], "reward": pytest.approx(mark, abs=1e-6), "done": True}
    emulator.settings.faults = faults.script(None, "refusal")
    [marked, missing] = run("skyrl_rewards", codes=CODES[2:4])["steps"]
    assert marked["reward"] == pytest.approx(TRUE[2], abs=1e-6)
    assert missing.startswith(f"NoMarksError: 1 of 1 samples have no mark: {REFUSED}")


def test_swift_advantages_are_of_the_marks_and_a_missing_one_ends_the_run(run, emulator):
    found = run("swift_rewards", missing="raise")
    assert found["version"] == "4.6.0"
    mean = sum(TRUE) / GROUP
    assert found["rewards"] == pytest.approx(TRUE, abs=1e-6)
    assert found["advantages"] == pytest.approx([mark - mean for mark in TRUE], abs=1e-6)
    assert len(emulator.log) == 1  # one request with the whole group
    emulator.settings.faults = faults.always(["refusal"])
    other = run("swift_rewards", missing="raise", codes=[f"{code} * 2" for code in CODES])
    assert other["error"].startswith(
        f"NoMarksError: {GROUP} of {GROUP} samples have no mark: {REFUSED}"
    )


def test_swift_makes_a_number_of_none(run):
    """Why the adapter raises: of four rewards of 0.5, of which the first is None, the mean is
    0.375.
    """
    found = run("swift_rewards", missing="none", codes=CODES[:4])
    assert found["advantages"] == pytest.approx([-0.375, 0.125, 0.125, 0.125])
