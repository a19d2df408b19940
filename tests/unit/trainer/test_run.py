"""Whole small runs in this process, against a stub that speaks the contract: what is left
behind, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal

import pytest
import torch
import yaml
from safetensors.torch import load_file

from markbook.cli.options import INTERRUPTED
from markbook.trainer.checkpoint import save_final
from markbook.trainer.gradients import build_experiences
from markbook.trainer.run import BAD_CONFIG, FINISHED, GAVE_UP, REJECTED
from tests.tolerance import EXACT_ZERO_KL
from tests.unit.trainer.stub import StubService, scored, unscored

CRITERIA = dict.fromkeys(("correctness", "code_quality", "efficiency", "documentation"), 0.5)
AWAY = (503, {"error": "store_unavailable", "detail": "no database"})


def by_hash(sample):
    """A mark that differs between samples and never changes."""
    return scored(hashlib.md5(sample.code.encode()).digest()[0] / 255, CRITERIA)


def half_unscored(sample):
    return unscored() if hashlib.md5(sample.code.encode()).digest()[0] % 2 else by_hash(sample)


def lines(file):
    """Of metrics.jsonl those of steps."""
    return [
        line for line in map(json.loads, file.read_text().splitlines()) if "eval_mark" not in line
    ]


def evaluations(run_dir):
    read = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line for line in read if "eval_mark" in line]


def adapter(run_dir):
    return load_file(run_dir / "adapter" / "adapter_model.safetensors")


def has_learned(run_dir):
    """B starts at zero, so a step that was taken shows there."""
    return any(tensor.any() for name, tensor in adapter(run_dir).items() if "lora_B" in name)


def test_a_run_leaves_everything_it_should(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        assert run(service) == FINISHED
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "adapter", "checkpoints", "config.yaml", "metrics.jsonl", "reward.png", "samples.html",
        "samples.jsonl", "summary.json", "tensorboard",
    }  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step-1", "step-2"}
    assert has_learned(folder)
    assert yaml.safe_load((folder / "config.yaml").read_text())["rlaif"]["run"] == "test-run"

    first, second = lines(folder / "metrics.jsonl")
    assert (first["step"], first["scored"], first["unscored"], first["skipped"]) == (1, 8, 0, None)
    assert first["kl"] == pytest.approx(0, abs=EXACT_ZERO_KL)  # the adapter starts as the base
    assert second["kl"] > 1e-6
    assert (first["api_tokens_sent"], second["api_tokens_sent"]) == (200, 400)
    assert second["samples"] == 16
    assert (first["epoch"], second["epoch"]) == (0.4, 0.8)  # 5 tasks, 2 a step
    assert (first["frac_unscored"], first["learning_rate"], first["kl_penalty"]) == (0.0, 0.01, 0.1)
    assert (
        first["seconds"]
        >= first["seconds_generating"] + first["seconds_scoring"] + first["seconds_learning"]
    )

    samples = lines(folder / "samples.jsonl")
    phases = [(line["phase"], line["step"]) for line in samples]
    assert (
        phases
        == [("eval_before", 0)] * 6
        + [("train", 1)] * 8
        + [("train", 2)] * 8
        + [("eval_after", 2)] * 6
    )
    assert samples[0]["criteria"] == CRITERIA
    assert samples[0]["source"] == "teacher"
    marks = [line["mark"] for line in samples if line["step"] == 1 and line["phase"] == "train"]
    assert first["reward_mean"] == pytest.approx(sum(marks) / 8)

    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["ended"], summary["steps"], summary["skipped_steps"]) == ("finished", 2, 0)
    assert summary["mark"]["tasks"] == 3
    assert summary["base_unchanged"] is True
    before = [line["mark"] for line in samples if line["phase"] == "eval_before"]
    assert summary["mark"]["before"] == pytest.approx(sum(before) / 6)
    assert summary["mark_without_documentation"]["difference"] == pytest.approx(0)
    assert (summary["training"]["samples"], summary["evaluation"]["samples"]) == (16, 12)

    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["run test-run", "teacher: a stub for tests, no judge"]
    assert [
        line
        for line in out
        if line.startswith("step 2/2  reward 0.") and "tokens 400 (saved 0)" in line
    ]


def test_runs_go_under_their_own_names(run):
    with StubService(by_hash) as service:
        run(service)
    assert [request.run for request in service.requests] == ["test-run/eval"] * 3 + [
        "test-run"
    ] * 4 + ["test-run/eval"] * 3
    assert {len(request.samples) for request in service.requests} == {2, 4}


def test_the_same_seed_gives_the_same_run(run, tmp_path):
    kept = []
    for _ in range(2):
        with StubService(by_hash) as service:
            assert run(service) == FINISHED
        kept.append(((tmp_path / "run" / "samples.jsonl").read_text(), adapter(tmp_path / "run")))
        (tmp_path / "run").rename(tmp_path / f"run-{len(kept)}")
    assert kept[0][0] == kept[1][0]
    assert all(torch.equal(tensor, kept[1][1][name]) for name, tensor in kept[0][1].items())


def test_unscored_samples_are_counted_and_have_no_say(run, tmp_path, monkeypatch):
    taught = []
    monkeypatch.setattr(
        "markbook.trainer.loop.build_experiences",
        lambda *args: taught.append(build_experiences(*args)) or taught[-1],
    )
    with StubService(half_unscored) as service:
        assert run(service, {"max_steps": 1}, {"max_unscored_fraction": 1.0}) == FINISHED
    [line] = lines(tmp_path / "run" / "metrics.jsonl")
    samples = [s for s in lines(tmp_path / "run" / "samples.jsonl") if s["phase"] == "train"]
    without = [s for s in samples if s["mark"] is None]
    assert 0 < line["unscored"] == len(without) < 8
    assert line["frac_unscored"] == len(without) / 8
    assert all(
        s["status"] == "unscored" and s["error"]["code"] == "teacher_unavailable" for s in without
    )
    marks = [s["mark"] for s in samples if s["mark"] is not None]
    assert line["reward_mean"] == pytest.approx(sum(marks) / len(marks))
    [experiences] = taught
    assert [experience.sample.text for experience in experiences] == [
        s["sample"] for s in samples
    ]  # all keep their KL
    silent = [
        experience for experience, s in zip(experiences, samples, strict=True) if s["mark"] is None
    ]
    assert {(experience.advantage, experience.in_policy) for experience in silent} == {(0.0, False)}


@pytest.mark.parametrize(
    ("mark", "why"),
    [(lambda _: unscored(), "no marks"), (lambda _: scored(0.4), "zero variance")],
)
def test_a_step_that_would_train_on_nothing_is_skipped_and_said(run, tmp_path, capsys, mark, why):
    with StubService(mark) as service:
        assert run(service, {"max_steps": 3}, {"max_unscored_fraction": 1.0}) == FINISHED
    assert [line["skipped"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [why] * 3
    assert [line["skipped_steps"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [
        1,
        2,
        3,
    ]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 3
    out = capsys.readouterr().out
    assert f"skipped: {why}" in out
    assert out.count(f"epoch 1 brought no update: all its steps were skipped ({why})") == 1
    assert not has_learned(tmp_path / "run")


def test_options_of_the_objective_reach_the_step(run, tmp_path):
    with StubService(by_hash) as service:
        options = {
            "use_frozen_reference_for_kl": False,
            "use_advantage_normalization": False,
            "reward_threshold": 1.0,
        }
        assert run(service, {"eval_tasks": None}, options) == FINISHED
    assert {line["skipped"] for line in lines(tmp_path / "run" / "metrics.jsonl")} == {
        "no sample in the loss"
    }
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "mark" not in summary
    assert {line["kl"] for line in lines(tmp_path / "run" / "metrics.jsonl")} == {None}


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_a_run_with_everything_else_chosen(run, tmp_path, kl_in):
    options = {
        "advantage_baseline": "leave_one_out", "loss": "ppo_clip", "loss_agg_mode": "sequence",
        "kl_reference": "copy",
        "kl_estimator": "exact", "kl_in": kl_in, "adaptive_kl_enabled": True, "target_kl": 1e-9,
    }  # fmt: skip
    with StubService(by_hash) as service:
        assert run(service, {"eval_tasks": None}, options) == FINISHED
    first, second = lines(tmp_path / "run" / "metrics.jsonl")
    assert first["kl"] == pytest.approx(0, abs=EXACT_ZERO_KL)
    assert second["kl"] > 1e-6
    assert second["kl_penalty"] == pytest.approx(0.098)  # nothing to hold back in the first step
    assert (first["clip_fraction"], second["clip_fraction"]) == (
        0.0,
        0.0,
    )  # one update on fresh samples: ratio 1
    assert has_learned(tmp_path / "run")


def test_when_the_service_stays_away_the_adapter_is_saved(run, tmp_path, capsys):
    # three evaluation tasks and the first step's two groups are marked, then nobody answers
    with StubService(by_hash) as service:
        service.fail_after(5, AWAY)
        assert run(service) == GAVE_UP
    assert has_learned(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 1
    assert "gave up after rlaif.service_wait_s" in summary["ended"]
    assert math.isfinite(summary["mark"]["before"])
    assert "no database" in capsys.readouterr().err


def test_a_refused_request_ends_the_run_with_its_reason(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        service.fail_after(
            3, (413, {"error": "payload_too_large", "detail": "more than 2 samples"})
        )
        assert run(service) == REJECTED
    assert "refused the request: payload_too_large: more than 2 samples" in capsys.readouterr().err
    assert not has_learned(tmp_path / "run")


@pytest.mark.parametrize("forbidden", ["test-run", "test-run/eval"])
def test_a_run_that_the_key_may_not_use_is_refused_before_a_model_is_loaded(run, capsys, forbidden):
    with StubService(by_hash) as service:
        service.forbidden.add(forbidden)
        assert run(service, {"model": "nowhere/to-be-found"}) == REJECTED
        assert f"refused the request: forbidden: not {forbidden}" in capsys.readouterr().err
        service.forbidden = {"test-run/eval"}
        # nothing is evaluated: only the run itself has to be allowed
        assert run(service, {"max_steps": 1, "eval_tasks": None}) == FINISHED


def test_ctrl_c_leaves_a_usable_folder(run, tmp_path, monkeypatch):
    def interrupt(_, name, *__):
        if name == "step-1":
            raise KeyboardInterrupt

    monkeypatch.setattr("markbook.trainer.loop.save_checkpoint", interrupt)
    with StubService(by_hash) as service:
        assert run(service) == INTERRUPTED
    assert has_learned(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ended"] == "interrupted"


def test_ctrl_c_while_saving_costs_nothing(run, tmp_path, monkeypatch, capsys):
    def impatient(*saved):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        save_final(*saved)

    def interrupt(_, name, *__):
        if name == "step-1":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("markbook.trainer.loop.save_checkpoint", interrupt)
    monkeypatch.setattr("markbook.trainer.loop.save_final", impatient)
    with StubService(by_hash) as service:
        assert run(service) == INTERRUPTED
    assert has_learned(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ended"] == "interrupted"
    said = capsys.readouterr().out
    assert said.index("interrupted: saving the state so far") < said.index(
        "resume with: markbook train --resume"
    )


def test_a_run_folder_that_cannot_be_made_is_said_at_once(run, tmp_path, capsys):
    (tmp_path / "taken").touch()
    with StubService(by_hash) as service:
        assert run(service, {"model": "no"}, arguments=("--run-dir", "taken/run")) == BAD_CONFIG
    assert f"cannot write to taken/run: {tmp_path / 'taken'} is a file" in capsys.readouterr().err


def test_nothing_is_written_where_the_configuration_cannot_be_used(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        for training, rlaif, complaint in [
            (
                {"model": "nowhere/to-be-found"},
                {},
                "training.model nowhere/to-be-found cannot be loaded",
            ),
            ({"model": "bundled:nothing"}, {}, "training.model bundled:nothing is not known"),
            ({"lora_target_modules": ["nothing"]}, {}, "no adapter can be put on"),
            # the tasks are looked at first: a model can take minutes to load
            (
                {"tasks": "nowhere.jsonl", "model": "no"},
                {},
                "training.tasks: cannot read the tasks nowhere.jsonl",
            ),
            (
                {"eval_tasks": "nowhere.jsonl"},
                {},
                "training.eval_tasks: cannot read the tasks nowhere.jsonl",
            ),
            (
                {},
                {"prompt_context_chars": 500},
                "rlaif.prompt_context_chars is 500 here and 200 at the service",
            ),
            ({}, {"run": "no good"}, "rlaif.run is 'no good', which is not a run name"),
            ({"learning_rat": 1.0}, {}, "did you mean training.learning_rate?"),
        ]:
            assert run(service, training, rlaif) == BAD_CONFIG
            assert complaint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_never_written_over(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        assert run(service, {"max_steps": 1}) == FINISHED
        before = (tmp_path / "run" / "metrics.jsonl").read_text()
        assert run(service, {"max_steps": 1}) == BAD_CONFIG
    assert "run holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
