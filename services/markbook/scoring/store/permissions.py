"""Which runs and samples an API key may see.

Every read that lists them takes a Viewer, so that none forgets it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from markbook.scoring.store.api_keys import ApiKey


@dataclass(frozen=True, slots=True)
class Viewer:
    """`key`: the API key that is shown; None: the owner, or anybody while the store has no keys."""

    key: ApiKey | None = None

    @property
    def sees_all_runs(self) -> bool:
        """Figures over all runs, and samples of which no run is known any more, are for such
        viewers only.
        """
        return self.key is None or self.key.runs == "*"

    def may_use(self, run: str) -> bool:
        return self.key is None or fnmatchcase(run, self.key.runs)

    def sees_mark(self, runs: Collection[str]) -> bool:
        """`runs`: those that paid for the mark, or were given it."""
        return self.sees_all_runs or any(map(self.may_use, runs))


OWNER = Viewer()
"""Sees everything: commands that open the database themselves."""
