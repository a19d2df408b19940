"""CPython inside bubblewrap: confirms what did not pass in Monty, where the machine allows such a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from services.scoring.execution.types import Limits, TestResult


def bubblewrap_fault() -> str | None:
    """Why bubblewrap cannot be used here, None where it works. Runs it once."""
    return "not implemented"


class CPythonSandbox:
    """To come."""

    name = "cpython"

    def run(self, code: str, tests: Sequence[str], setup: str, limits: Limits) -> list[TestResult]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing runs between samples."""
