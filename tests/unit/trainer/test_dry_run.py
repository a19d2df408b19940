"""`--dry-run`: its lines, and that it leaves nothing and asks for one group, which the run then
reuses.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from markbook.config.settings import Config, Training
from markbook.contract import Counters
from markbook.trainer.dry_run import next_step, price
from markbook.trainer.run import BAD_CONFIG, FINISHED, GAVE_UP
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import StubService, unscored
from tests.unit.trainer.test_run import by_hash


@pytest.mark.parametrize(
    ("counted", "line"),
    [
        (Counters(), "teacher: this group needed no call"),
        (
            Counters(teacher_calls=2, api_tokens_sent=1000, api_tokens_received=41, cost_usd=0.02),
            "teacher: 2 calls, 1,000 tokens sent, 41 received, $0.0200",
        ),
        (
            Counters(teacher_calls=1, api_tokens_sent=1234, api_tokens_received=9, cost_usd=None),
            "teacher: 1 calls, 1,234 tokens sent, 9 received, price unknown",
        ),
        (
            Counters(
                teacher_calls=1,
                api_tokens_sent=9,
                api_tokens_received=1,
                cost_usd=0,
                cache_creation_input_tokens=9,
            ),
            "teacher: 1 calls, 9 tokens sent, 1 received, $0.0000 "
            "(the first call writes the rubric to the prompt cache; later ones cost less)",
        ),
    ],
)
def test_the_price_of_the_group(counted, line):
    assert price(counted) == line


def test_the_command_that_estimates_the_run_has_the_mean_length_measured():
    task = Task(0, "p", "python", (1,))
    samples = [Sample(task, (7,) * length, "", False, (0.0,) * length) for length in (10, 15)]
    config = Config(training=Training(tasks="my tasks.jsonl"))
    command = next_step(config, samples).partition("with: ")[2]
    assert command == "markbook estimate 'my tasks.jsonl' --code-tokens 13"
    assert next_step(config, samples, Path("my.yaml")).endswith("--code-tokens 13 --config my.yaml")


def test_it_writes_nothing_and_the_run_meets_its_samples_again(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        before = {path.name for path in tmp_path.iterdir()}
        assert run(service, arguments=("--dry-run", "--run-dir", "run")) == FINISHED
        assert {path.name for path in tmp_path.iterdir()} == before | {"config.yaml"}
        [request] = service.requests
        assert (request.run, len(request.samples)) == ("test-run/dry-run", 4)
        out = capsys.readouterr().out
        assert "generated one group: 4 samples, " in out
        assert "marks: 0." in out
        assert (
            "teacher: this group needed no call\nestimate the cost of the whole run with: " in out
        )
        assert out.endswith(" --config config.yaml\n")
        assert run(service) == FINISHED
        [again] = [other for other in service.requests[1:] if other.samples == request.samples]
        assert again.run == "test-run"


def test_a_group_without_marks_is_an_error(run, capsys):
    with StubService(lambda _: unscored()) as service:
        assert run(service, arguments=("--dry-run",)) == GAVE_UP
    assert (
        "none of the samples got a mark: teacher_unavailable: overloaded" in capsys.readouterr().err
    )


def test_what_a_run_could_not_use_is_found(run, capsys):
    with StubService(by_hash) as service:
        assert run(service, {"trackers": ["tensorbord"]}, arguments=("--dry-run",)) == BAD_CONFIG
        assert "training.trackers names tensorbord" in capsys.readouterr().err
        assert run(service, arguments=("--dry-run", "--resume")) == BAD_CONFIG
        assert "--dry-run and --resume exclude each other" in capsys.readouterr().err
