"""Trackers: TensorBoard's real files, read back by TensorBoard; trackers of other kinds, with
tables; wrong names.
"""

from __future__ import annotations

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer.monitoring.metrics import Recorder
from markbook.trainer.monitoring.trackers import MAX_CHARS, MAX_ROWS, Trackers, check_trackers
from markbook.trainer.types import Sample, Task
from tests.unit.trainer.stub import scored


def trackers(folder, step=0, names=("tensorboard",)):
    return Trackers(Config(training=Training(trackers=list(names))), "a-run", "f00d", folder, step)


def read(folder, tag):
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return [(event.step, round(event.value, 6)) for event in found.Scalars(tag)]


def test_numbers_get_there_and_nothing_else(tmp_path):
    with trackers(tmp_path) as tracked:
        tracked.log(
            "train",
            {"reward_mean": 0.5, "kl": None, "skipped": "no marks", "sources": {"cache": 3}},
            1,
        )
        tracked.log("eval", {"mark": 0.25, "interval_95": [0.1, 0.2]}, 1)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == [
        "eval/mark",
        "train/reward_mean",
        "train/sources.cache",
    ]
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
        (
            "comet_ml",
            "training.trackers names comet_ml, which is not installed: pip install comet-ml, or "
            "leave it out",
        ),
    ],
)
def test_a_tracker_that_cannot_be_had_is_one_line(name, message):
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match=message) as caught:
        check_trackers(["tensorboard", name])
    assert "\n" not in str(caught.value)


class WithTables(GeneralTracker):
    """A tracker that has tables as Accelerate's class for Weights & Biases has them."""

    name = "wandb"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.tables = []

    @property
    def tracker(self):
        return None

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **_):
        pass

    def log_table(self, table_name, columns=None, data=None, dataframe=None, step=None, **_):
        self.tables.append((table_name, columns, data, step))


LINE = {
    "step": 3, "phase": "eval", "task": 7, "language": "python", "prompt": "p" * (MAX_CHARS + 1),
    "sample": "code",
    "tokens": 12, "truncated": False, "status": "scored", "mark": 0.5,
    "criteria": {"correctness": 0.25, "efficiency": 1.0}, "passed": False,
    "tests": {"passed": 0, "total": 1, "not_run": 0, "first_failure": "assert add(1, 2) == 3"},
    "source": "teacher",
    "reasons": ["short", "clear"], "error": None,
}  # fmt: skip
UNSCORED = LINE | {
    "mark": None, "criteria": None, "passed": None, "tests": None, "source": None, "reasons": [],
    "error": {"code": "deadline", "detail": "late", "retry_after_s": None},
}  # fmt: skip


def with_trackers(monkeypatch, folder, *made):
    """Trackers that hold `made`."""
    tracked = trackers(folder, names=())
    monkeypatch.setattr(tracked, "_trackers", list(made))
    return tracked


def test_samples_of_an_evaluation_are_a_table_of_flat_values(tmp_path, monkeypatch):
    tracker = WithTables()
    tracked = with_trackers(monkeypatch, tmp_path, tracker)
    tracked.log_samples("eval", [LINE, UNSCORED], 3)
    tracked.log_samples("eval", [], 4)
    [(name, columns, data, step)] = tracker.tables
    assert (name, step) == ("eval/samples", 3)
    scored, unscored = (dict(zip(columns, row, strict=True)) for row in data)
    assert scored == {
        "task": 7, "language": "python", "prompt": "p" * MAX_CHARS, "sample": "code", "mark": 0.5,
        "passed": False,
        "criteria": "correctness 0.25, efficiency 1.00", "reasons": "short; clear",
        "failed test": "assert add(1, 2) == 3", "source": "teacher", "unscored": "", "tokens": 12,
        "truncated": False,
    }  # fmt: skip
    assert {name: unscored[name] for name in ("mark", "passed", "criteria", "failed test", "source",
    "unscored")} == {
        "mark": None, "passed": None, "criteria": "", "failed test": "", "source": "",
        "unscored": "deadline",
    }  # fmt: skip


def test_a_table_has_at_most_so_many_rows(tmp_path, monkeypatch):
    tracker = WithTables()
    with_trackers(monkeypatch, tmp_path, tracker).log_samples("eval", [LINE] * (MAX_ROWS + 1), 3)
    assert len(tracker.tables[0][2]) == MAX_ROWS


def test_a_tracker_without_tables_gets_none(tmp_path):
    with trackers(tmp_path) as tracked:
        tracked.log_samples("eval", [LINE], 3)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert found.Tags()["scalars"] == []


def test_evaluations_bring_tables_and_steps_none(tmp_path):
    seen = []

    class Tracked:
        def log_samples(self, phase, lines, step):
            seen.append((phase, [line["sample"] for line in lines], step))

    task = Task(0, "Write it.", "python", (1,))
    group = (
        [Sample(task, (1,), "a", False), Sample(task, (1,), "b", False)],
        [scored(0.5), scored(0.25)],
    )
    with Recorder(tmp_path, 5, {}, Tracked()) as recorder:
        recorder.groups(0, "eval_before", [group, group])
        recorder.groups(1, "train", [group])
    assert seen == [("eval", ["a", "b", "a", "b"], 0)]
