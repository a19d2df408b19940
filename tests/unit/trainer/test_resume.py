"""Runs that stop and go on, in this process: equal to unbroken ones, tidy, and refused where
they cannot be.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from markbook.contract import ErrorCode, ExtractedFrom, SampleError, Unscored
from markbook.trainer.checkpoint import checkpoints
from markbook.trainer.run import BAD_CONFIG, BUDGET_SPENT, FINISHED
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_run import adapter, by_hash, lines

RESUME = ("--run-dir", "run", "--resume")
# dropout draws from torch's random numbers, the coefficient and the step size move: all of it has
# to be kept
TRAINING = {"max_steps": 4, "lora_dropout": 0.2, "lr_scheduler_type": "cosine", "warmup_steps": 1}
RLAIF = {"adaptive_kl_enabled": True, "target_kl": 0.2}


@pytest.fixture
def unbroken(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF) == FINISHED
    (tmp_path / "run").rename(tmp_path / "unbroken")
    return tmp_path / "unbroken"


def payer(samples):
    """Marks for so many samples, then the budget is spent."""
    left = iter(range(samples))
    error = SampleError(
        code=ErrorCode.BUDGET_EXHAUSTED, detail="run test-run has spent its 1.00 dollars"
    )
    spent = Unscored(error=error, extracted_from=ExtractedFrom.COMPLETION, key="k", profile="p")
    return lambda sample: spent if next(left, None) is None else by_hash(sample)


def learned(run_dir):
    """Metrics but times and the service's counts, which belong to the moment they were asked
    for.
    """
    kept = (
        "step",
        "reward_mean",
        "loss",
        "kl",
        "kl_penalty",
        "grad_norm",
        "learning_rate",
        "epoch",
        "sources",
    )
    return [{name: line[name] for name in kept} for line in lines(run_dir / "metrics.jsonl")]


def assert_equal(one, other):
    assert learned(one) == learned(other)
    assert (one / "samples.jsonl").read_text() == (other / "samples.jsonl").read_text()
    assert all(torch.equal(tensor, adapter(other)[name]) for name, tensor in adapter(one).items())
    marks = [json.loads((folder / "summary.json").read_text())["mark"] for folder in (one, other)]
    assert marks[0] == marks[1]


def test_a_spent_budget_stops_the_run_and_more_money_goes_on_with_it(
    run, unbroken, tmp_path, capsys
):
    with StubService(
        payer(6 + 8 + 8 + 3)
    ) as service:  # the evaluation, two steps, a part of the third
        assert run(service, TRAINING, RLAIF) == BUDGET_SPENT
    said = capsys.readouterr()
    assert (
        "run test-run has spent its 1.00 dollars; raise `budgets` at the scoring service"
        in said.err
    )
    assert "resume with: markbook train --resume run" in said.out
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-1", "step-2"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 2

    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF, RESUME) == FINISHED
        assert [request.run for request in service.requests] == ["test-run"] * 4 + [
            "test-run/eval"
        ] * 3
    out = capsys.readouterr().out
    assert "resuming after step 2 of 4" in out
    assert "changed since: rlaif.scoring_url was" in out
    assert_equal(tmp_path / "run", unbroken)


def test_what_was_written_after_the_checkpoint_is_cut_off(run, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-4")
    (tmp_path / "run" / "checkpoints" / ".step-4.partial").mkdir()
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (tmp_path / "run" / name).open("a") as file:
            file.write('{"half a li')
    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF, RESUME) == FINISHED
    assert_equal(tmp_path / "run", unbroken)
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(names) == ["step-3", "step-4"]


def test_requests_of_a_step_done_again_carry_their_ids_and_others_do_not(run, tmp_path):
    ids = []
    for arguments in (("--run-dir", "run"), RESUME, ("--run-dir", "another")):
        with StubService(by_hash) as service:
            assert run(service, {"eval_tasks": None}, None, arguments) == FINISHED
        ids.append({request.request_id for request in service.requests})
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-2", ignore_errors=True)
    first, again, other = ids
    assert len(first) == 4
    assert again < first
    assert len(again) == 2
    assert not other & first


def test_a_finished_run_goes_on_to_more_steps(run, tmp_path):
    constant = {**TRAINING, "lr_scheduler_type": "constant"}
    for name, steps in (("short", 2), ("long", 4)):
        with StubService(by_hash) as service:
            assert (
                run(service, {**constant, "max_steps": steps}, RLAIF, ("--run-dir", name))
                == FINISHED
            )
    with StubService(by_hash) as service:
        assert run(service, constant, RLAIF, ("--resume", "short")) == FINISHED
    assert_equal(tmp_path / "short", tmp_path / "long")


def test_what_the_configuration_changes_is_in_force_from_then_on(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        assert run(service, {"max_steps": 1}) == FINISHED
        capsys.readouterr()
        assert (
            run(service, {"max_steps": 2, "learning_rate": 0.002}, {"kl_penalty": 0.5}, RESUME)
            == FINISHED
        )
    first, second = lines(tmp_path / "run" / "metrics.jsonl")
    assert (first["learning_rate"], first["kl_penalty"]) == (0.01, 0.1)
    assert (second["learning_rate"], second["kl_penalty"]) == (0.002, 0.5)
    said = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("changed since: ")
    ]
    assert said == [
        "changed since: training.learning_rate was 0.01, is 0.002",
        "changed since: training.max_steps was 1, is 2",
        "changed since: rlaif.kl_penalty was 0.1, is 0.5",
    ]


def test_what_cannot_go_on_is_refused_with_its_reason(run, tmp_path, capsys, monkeypatch):
    with StubService(by_hash) as service:
        assert run(service, arguments=("--resume",)) == BAD_CONFIG
        assert "there is no run in runs/test-run" in capsys.readouterr().err
        assert run(service, {"max_steps": 1}) == FINISHED
        assert run(service, {"lora_r": 8}, None, RESUME) == BAD_CONFIG
        assert "does not fit this model: training.lora_* differ" in capsys.readouterr().err
        before = (tmp_path / "run" / "metrics.jsonl").read_text()
        monkeypatch.setattr("markbook.trainer.loop.base_checksum", lambda _: "another")
        assert run(service, None, None, RESUME) == BAD_CONFIG
        assert "is not the one of run/checkpoints/step-1" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_a_checkpoint_is_laid_out_as_by_every_release_so_far(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, {"max_steps": 3}, {**RLAIF, "max_staleness": 1}) == FINISHED
    folder = tmp_path / "run" / "checkpoints" / "step-2"
    state = torch.load(folder / "state.pt", weights_only=True)
    assert sorted(state) == ["flying", "kl_penalty", "optimizer", "random", "updates"]
    [flying] = state["flying"]
    assert sorted(flying) == ["draw", "groups"]
    assert sorted(flying["groups"][0][0]) == [
        "ids",
        "log_probs",
        "task",
        "text",
        "truncated",
        "updates",
    ]
    evaluation = json.loads((folder / "progress.json").read_text())["evaluations"]["0"]
    assert sorted(evaluation) == ["marks", "passed", "undocumented", "unscored"]
