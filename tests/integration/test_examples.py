"""The examples of docs/examples, run as they stand against a real service.

TRL's is in test_trl.py.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT, ServiceProcess, clean_environment


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    with ServiceProcess(f"sqlite:///{tmp_path_factory.mktemp('examples') / 'book.db'}") as started:
        yield started


def run(example: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, f"docs/examples/{example}.py", url],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def samples(service: ServiceProcess, name: str) -> int:
    with service.client() as client:
        return client.stats(name).runs[name].samples


def test_openrlhf(service):
    answer = json.loads(run("openrlhf_get_reward", service.url))
    good, broken = answer["rewards"]
    assert good > 0.5
    assert broken <= 0.05
    assert answer["extra_logs"]["markbook_heuristic"] == [0.0, 1.0]
    assert samples(service, "openrlhf-example") == 2


def test_nemo_gym(service):
    answer = json.loads(run("nemo_gym_verify", service.url))
    assert answer["reward"] == answer["markbook"]["score"] > 0.5
    assert samples(service, "nemo-gym-example") == 1


def test_verl(service):
    assert float(run("verl_compute_score", service.url).removeprefix("score ")) > 0.5
    assert samples(service, "verl-example") == 1
