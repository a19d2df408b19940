"""Runs that are watched: evaluations on the way, resumed in the middle of one, and checks that
end a run.
"""

from __future__ import annotations

import json
import shutil

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from markbook.trainer.run import FINISHED, GAVE_UP, STOPPED_BY_CHECK
from tests.unit.trainer.stub import StubService, scored
from tests.unit.trainer.test_run import AWAY, by_hash, evaluations, has_learned, lines

RESUME = ("--run-dir", "run", "--resume")
EVERY_OTHER = {"max_steps": 4, "eval_every_steps": 2, "save_every_steps": 2}


def timeless(run_dir):
    return [
        {name: value for name, value in line.items() if name != "eval_seconds"}
        for line in evaluations(run_dir)
    ]


def test_evaluations_on_the_way(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        assert run(service, EVERY_OTHER) == FINISHED
    found = evaluations(tmp_path / "run")
    assert [line["step"] for line in found] == [0, 2, 4]
    samples = [
        json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ]
    held_out = [(line["phase"], line["step"]) for line in samples if line["phase"] != "train"]
    assert held_out == [("eval_before", 0)] * 6 + [("eval", 2)] * 6 + [("eval_after", 4)] * 6
    for line in found:
        marks = [
            one["mark"]
            for one in samples
            if one["phase"] != "train" and one["step"] == line["step"]
        ]
        assert abs(line["eval_mark"] - sum(marks) / 6) < 1e-9
        assert (line["eval_scored"], line["eval_unscored"]) == (6, 0)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [line["mark"] for line in summary["evaluations"]] == [
        line["eval_mark"] for line in found
    ]
    assert (summary["steps"], summary["mark"]["after"]) == (4, found[-1]["eval_mark"])
    page = (tmp_path / "run" / "samples.html").read_text()
    assert (
        page.index("<summary>after step 4")
        < page.index("<summary>after step 2")
        < page.index("<summary>before")
    )
    assert "stub: a stub for tests, no judge" in page
    out = capsys.readouterr().out
    assert "evaluating after step 2: 3 tasks" in out
    assert (
        f"evaluation after step 4  mark {found[-1]['eval_mark']:.3f} "
        f"({found[-1]['eval_difference']:+.3f} since" in out
    )


def test_a_run_that_ended_in_an_evaluation_goes_on_in_it(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, EVERY_OTHER) == FINISHED
    (tmp_path / "run").rename(tmp_path / "unbroken")
    with StubService(by_hash) as service:
        service.fail_after(
            3 + 4 + 1, AWAY
        )  # in the evaluation after step 2, whose checkpoint is there
        assert run(service, EVERY_OTHER) == GAVE_UP
    with StubService(by_hash) as service:
        assert run(service, EVERY_OTHER, None, RESUME) == FINISHED
        assert [request.run for request in service.requests][:4] == ["test-run/eval"] * 3 + [
            "test-run"
        ]
    assert timeless(tmp_path / "run") == timeless(tmp_path / "unbroken")
    for name in ("samples.jsonl", "samples.html"):
        assert (tmp_path / "run" / name).read_text() == (tmp_path / "unbroken" / name).read_text()


def test_an_evaluation_in_the_checkpoint_is_not_done_again(run, tmp_path):
    settings = {**EVERY_OTHER, "save_every_steps": 4}
    with StubService(by_hash) as service:
        service.fail_after(
            3 + 4 + 3, AWAY
        )  # step 3, after the evaluation: what is saved then holds it
        assert run(service, settings) == GAVE_UP
    with StubService(by_hash) as service:
        assert run(service, settings, None, RESUME) == FINISHED
        assert [request.run for request in service.requests] == ["test-run"] * 4 + [
            "test-run/eval"
        ] * 3
    assert [line["step"] for line in evaluations(tmp_path / "run")] == [0, 2, 4]


def test_each_evaluation_has_request_ids_of_its_own_also_in_a_run_that_is_made_longer(run):
    ids = []
    for steps, arguments in ((2, ("--run-dir", "run")), (4, RESUME)):
        with StubService(by_hash) as service:
            assert run(service, {**EVERY_OTHER, "max_steps": steps}, None, arguments) == FINISHED
        ids.append(
            [request.request_id for request in service.requests if request.run == "test-run/eval"]
        )
    short, longer = ids
    assert {*longer[:3]} == {
        *short[3:]
    }  # the evaluation after step 2, which has become one on the way
    assert len({*short, *longer}) == 9


def test_a_resumed_run_is_one_curve_in_tensorboard(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, {"max_steps": 3}) == FINISHED
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-3")
    with StubService(by_hash) as service:
        assert run(service, {"max_steps": 3}, None, RESUME) == FINISHED
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("train/reward_mean")] == [1, 2, 3]
    assert [event.step for event in found.Scalars("eval/mark")] == [0, 3]


def test_a_check_is_a_warning_once(run, tmp_path, capsys):
    with StubService(lambda _: scored(0.99)) as service:
        assert run(service, {"max_steps": 4}, {"reward_hacking_window": 2}) == FINISHED
    text = "warning: marks are at the ceiling: the share of 0.95 or more is 1.00 over 2 steps"
    assert capsys.readouterr().out.count(text) == 1
    assert [line["alarms"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [
        [],
        ["frac_ceiling"],
        [],
        [],
    ]


def test_a_check_may_end_the_run_which_then_goes_on_without_it(run, tmp_path, capsys):
    stop = {
        "reward_hacking_window": 1,
        "max_kl": 1e-9,
        "max_length_correlation": None,
        "reward_hacking_action": "stop",
    }
    training = {"max_steps": 4, "save_every_steps": 4}
    with StubService(by_hash) as service:
        assert (
            run(service, training, stop) == STOPPED_BY_CHECK
        )  # in step 1 the policy is still the reference
    said = capsys.readouterr()
    assert said.err.startswith("stopped: the policy runs away from its reference")
    assert "above rlaif.max_kl (1e-09)" in said.err
    assert "resume with: markbook train --resume run" in said.out
    assert (tmp_path / "run" / "checkpoints" / "step-2").exists()
    assert has_learned(tmp_path / "run")
    with StubService(by_hash) as service:
        assert run(service, training, stop, RESUME) == FINISHED
    assert [line["alarms"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [
        [],
        ["kl"],
        [],
        [],
    ]
