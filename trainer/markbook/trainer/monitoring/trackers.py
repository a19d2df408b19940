"""Metrics in TensorBoard, or in another tracker that Hugging Face Accelerate knows by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from markbook.config.loading import ConfigError
from markbook.config.settings import Config

PROJECT = "markbook"
TENSORBOARD = "tensorboard"
MAX_ROWS = 1_000
"""Samples of an evaluation in a tracker's table; samples.jsonl has all of them."""
MAX_CHARS = 10_000
"""Characters of a task or a sample in it."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker that Accelerate does not know, or that is not installed."""
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise ConfigError(
                f"training.trackers names {name}, which is not a tracker; known: {known}"
            )
        if name not in installed:
            raise ConfigError(
                f"training.trackers names {name}, which is not installed: pip install "
                f"{name.replace('_', '-')}, or leave it out"
            )


class Trackers:
    """The trackers of one run, open inside `with`.

    `step`: the last one done, from which the run continues.

    A tracker that can drop what came after it (TensorBoard) or continue the same run (Weights &
    Biases), shows a resumed run as one curve.
    """

    def __init__(self, config: Config, run: str, run_id: str, run_dir: Path, step: int) -> None:
        self._config = config
        purge_from = (
            step + 1 if step else 0
        )  # a run that has done no step has its first evaluation before it
        options: dict[str, dict[str, Any]] = {
            TENSORBOARD: {"purge_step": purge_from},
            "wandb": {"name": run, "id": run_id, "resume": "allow"},
            "trackio": {"name": run, "resume": "allow"},
        }
        self._trackers: list[GeneralTracker] = []
        # only the first of several processes reports
        for name in config.training.trackers if PartialState().is_main_process else ():
            project = (
                TENSORBOARD if name == TENSORBOARD else PROJECT
            )  # for TensorBoard the folder in the run's
            kind = LOGGER_TYPE_TO_CLASS[name]
            folder = (str(run_dir),) if kind.requires_logging_directory else ()
            self._trackers.append(kind(project, *folder, **options.get(name, {})))

    def __enter__(self) -> Self:
        settings = _flat(
            {
                "training": self._config.training.model_dump(),
                "rlaif": self._config.rlaif.model_dump(),
            }
        )
        for tracker in self._trackers:
            tracker.start()
            if tracker.name != TENSORBOARD:  # which would show them as one more run at each start
                tracker.store_init_configuration(settings)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def log(self, phase: str, metrics: Mapping[str, Any], step: int) -> None:
        """The numbers of one line, as `phase/name`."""
        numbers = {
            name: value for name, value in _flat(metrics).items() if isinstance(value, int | float)
        }
        for tracker in self._trackers:
            tracker.log({f"{phase}/{name}": value for name, value in numbers.items()}, step=step)

    def log_samples(self, phase: str, lines: Sequence[Mapping[str, Any]], step: int) -> None:
        """The first MAX_ROWS `lines` of samples.jsonl as the table `phase/samples`, where a
        tracker has tables.
        """
        rows = [_row(line) for line in lines[:MAX_ROWS]]
        for tracker in self._trackers if rows else ():
            log_table(tracker, f"{phase}/samples", rows, step)


def log_table(
    tracker: GeneralTracker, name: str, rows: Sequence[Mapping[str, Any]], step: int
) -> None:
    """A table in Weights & Biases, ClearML (which Accelerate has a method for) and Trackio
    (which it has none for).
    """
    columns = list(rows[0])
    if tracker.name == "trackio":
        import pandas  # Trackio depends on it; its tables take their columns from a data frame only
        import trackio

        # as objects: a column of numbers would turn a missing mark into NaN
        frame = pandas.DataFrame(rows, columns=columns, dtype=object)
        tracker.log({name: trackio.Table(dataframe=frame)}, step=step)
    elif hasattr(tracker, "log_table"):
        data = [list(row.values()) for row in rows]  # each row has the same keys, in the same order
        tracker.log_table(name, columns=columns, data=data, step=step)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of samples.jsonl in flat types, the same in each column: Weights & Biases refuses
    others.
    """
    tests, error = line["tests"], line["error"]
    criteria = line["criteria"] or {}
    return {
        "task": line["task"],
        "language": line["language"],
        "prompt": line["prompt"][:MAX_CHARS],
        "sample": line["sample"][:MAX_CHARS],
        "mark": line["mark"],
        "passed": line["passed"],
        "criteria": ", ".join(f"{name} {value:.2f}" for name, value in criteria.items()),
        "reasons": "; ".join(line["reasons"]),
        "failed test": (tests or {}).get("first_failure") or "",
        "source": line["source"] or "",
        "unscored": error["code"] if error else "",
        "tokens": line["tokens"],
        "truncated": line["truncated"],
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists as text."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value) if isinstance(value, list) else value
    return flat
