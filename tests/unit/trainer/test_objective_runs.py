"""Whole runs of each objective, of several updates per batch, and without samples that were cut
off.
"""

from __future__ import annotations

import shutil

import pytest
import yaml

from markbook.config.settings import Rlaif
from markbook.config.settings.objectives import OBJECTIVE_KEYS, OBJECTIVES
from markbook.trainer.run import FINISHED
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_resume import RESUME, RLAIF, TRAINING, assert_equal
from tests.unit.trainer.test_run import by_hash, has_learned, lines

NO_EVALUATION = {"eval_tasks": None}
TWICE = {"updates_per_batch": 2, "epochs_per_batch": 2}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_by_name(run, tmp_path, capsys, name):
    # the tiny student seldom ends by itself: with mask_truncated nothing would be left
    options = {"objective": name, "mask_truncated": False, **TWICE}
    with StubService(by_hash) as service:
        assert run(service, NO_EVALUATION, options) == FINISHED
    for line in lines(tmp_path / "run" / "metrics.jsonl"):
        assert line["updates"] == 2
        assert (line["kl"] is None) == (not Rlaif(objective=name).use_frozen_reference_for_kl)
        assert 0 < line["entropy"] < 5.6  # ln 258, of the uniform distribution
        assert line["entropy_coef"] == 0.0
        assert line["clip_fraction"] is not None  # the second update is off policy
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["rlaif"]
    expected = Rlaif(**options).model_dump()
    assert {key: saved[key] for key in OBJECTIVE_KEYS} == {
        key: expected[key] for key in OBJECTIVE_KEYS
    }
    said = "rlaif.objective dapo, except: mask_truncated False (dapo: True)"
    assert (said in capsys.readouterr().out) == (name == "dapo")
    assert has_learned(tmp_path / "run")


@pytest.mark.parametrize(("staleness", "lags"), [(0, [0.5, 0.5]), (1, [0.5, 2.5])])
@pytest.mark.parametrize("epochs", [1, 2])
def test_updates_on_a_batch_add_to_its_staleness(run, tmp_path, staleness, lags, epochs):
    """With max_staleness a batch is drawn before the two updates of the batch before it."""
    options = {"updates_per_batch": 2, "epochs_per_batch": epochs, "max_staleness": staleness}
    with StubService(by_hash) as service:
        assert run(service, NO_EVALUATION, options) == FINISHED
    assert [line["policy_lag"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == lags


def test_a_run_of_several_updates_per_batch_resumes_as_if_it_had_not_stopped(run, tmp_path):
    options = RLAIF | {"updates_per_batch": 4, "epochs_per_batch": 2, "max_staleness": 1}
    with StubService(by_hash) as service:
        assert run(service, TRAINING, options) == FINISHED
    (tmp_path / "run").rename(tmp_path / "unbroken")
    shutil.copytree(tmp_path / "unbroken", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-4")
    with StubService(by_hash) as service:
        assert run(service, TRAINING, options, RESUME) == FINISHED
    assert_equal(tmp_path / "run", tmp_path / "unbroken")


def test_without_the_samples_that_were_cut_off_there_may_be_nothing_to_learn_from(run, tmp_path):
    with StubService(by_hash) as service:
        assert (
            run(service, NO_EVALUATION | {"max_new_tokens": 1}, {"mask_truncated": True})
            == FINISHED
        )
    for line in lines(tmp_path / "run" / "metrics.jsonl"):
        assert (line["skipped"], line["updates"]) == (
            ("no sample in the loss", None) if line["frac_truncated"] == 1 else (None, 1)
        )
    assert any(line["skipped"] for line in lines(tmp_path / "run" / "metrics.jsonl"))
