"""Makes the test runner from the sandboxes available on this machine, and logs which these are."""

from __future__ import annotations

import logging
import os
from typing import Literal

from markbook.config.loading import ConfigError
from markbook.scoring.execution.cache import VerdictCache
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.monty import MontySandbox, check_monty
from markbook.scoring.execution.runner import TestRunner
from markbook.scoring.execution.types import Limits

_log = logging.getLogger(__name__)


def open_runner(
    confirm: Literal["auto", "on", "not_run", "off"] = "auto",
    *,
    limits: Limits | None = None,
    max_running: int | None = None,
    max_waiting: int = 4096,
    cache: VerdictCache | None = None,
) -> TestRunner:
    """Monty, plus CPython inside bubblewrap to confirm failures if `confirm` and the machine allow
    it.

    `not_run` runs in CPython only what Monty cannot run, where bubblewrap works.
    Blocks while processes start. Raises ConfigError for `on` where bubblewrap does not work, and
    ExecutionUnavailableError when Monty does not start.
    """
    check_monty()
    running = max_running or os.cpu_count() or 1
    second: CPythonSandbox | None = None
    if confirm != "off":
        fault = bubblewrap_fault()
        if fault is None:
            second = CPythonSandbox()
        elif confirm == "on":
            raise ConfigError(f"failed tests cannot be confirmed by CPython here: {fault}")
        else:
            _log.info("there is no second run of tests in CPython: %s", fault)
    if second is not None:
        which = "Monty cannot run" if confirm == "not_run" else "do not pass in Monty"
        _log.info("tests that %s are run in CPython inside bubblewrap", which)
    return TestRunner(
        MontySandbox(running),
        second,
        confirm_failures=confirm != "not_run",
        limits=limits,
        max_running=running,
        max_waiting=max_waiting,
        cache=cache,
    )
