"""Trackers: TensorBoard's real files, read back by TensorBoard; a tracker of another kind; names that are none."""

from __future__ import annotations

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer.monitoring.trackers import Trackers, check_trackers


def trackers(folder, step=0, names=("tensorboard",)):
    return Trackers(Config(training=Training(trackers=list(names))), "a-run", "f00d", folder, step)


def read(folder, tag):
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return [(event.step, round(event.value, 6)) for event in found.Scalars(tag)]


def test_numbers_get_there_and_nothing_else(tmp_path):
    with trackers(tmp_path) as tracked:
        tracked.log("train", {"reward_mean": 0.5, "kl": None, "skipped": "no marks", "sources": {"cache": 3}}, 1)
        tracked.log("eval", {"mark": 0.25, "interval_95": [0.1, 0.2]}, 1)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["eval/mark", "train/reward_mean", "train/sources.cache"]
    assert read(tmp_path, "train/sources.cache") == [(1, 3.0)]


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path):
    with trackers(tmp_path) as tracked:
        for step, value in ((1, 0.1), (2, 0.2), (3, 0.3)):
            tracked.log("train", {"reward_mean": value}, step)
    with trackers(tmp_path, step=1) as tracked:
        tracked.log("train", {"reward_mean": 0.5}, 2)
    assert read(tmp_path, "train/reward_mean") == [(1, 0.1), (2, 0.5)]


def test_a_run_without_trackers_leaves_no_folder(tmp_path):
    with trackers(tmp_path, names=()) as tracked:
        tracked.log("train", {"reward_mean": 0.5}, 1)
    assert list(tmp_path.iterdir()) == []


def test_other_trackers_get_the_settings_and_the_run(tmp_path, monkeypatch):
    seen = []

    class Recording(GeneralTracker):
        name = "wandb"
        requires_logging_directory = False

        def __init__(self, project, **options):
            super().__init__()
            seen.append((project, options))

        @property
        def tracker(self):
            return None

        def store_init_configuration(self, values):
            seen.append(values["training.trackers"])
            assert all(isinstance(value, str | int | float | None) for value in values.values())

        def log(self, values, step=None, **_):
            seen.append((values, step))

        def finish(self):
            seen.append("finished")

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Recording)
    with trackers(tmp_path, step=4, names=["wandb"]) as tracked:
        tracked.log("train", {"kl": 0.5}, 5)
    assert seen == [
        ("markbook", {"name": "a-run", "id": "f00d", "resume": "allow"}),
        "['wandb']",
        ({"train/kl": 0.5}, 5),
        "finished",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "training.trackers names tensorbord, which is not a tracker; known: aim, "),
        ("comet_ml", "training.trackers names comet_ml, which is not installed: pip install comet-ml, or leave it out"),
    ],
)
def test_a_tracker_that_cannot_be_had_is_one_line(name, message):
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match=message) as caught:
        check_trackers(["tensorboard", name])
    assert "\n" not in str(caught.value)
