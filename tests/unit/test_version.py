"""`--version` of both programs: the installed package's."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest


@pytest.mark.parametrize("module", ["markbook.scoring", "markbook.trainer"])
def test_each_program_prints_its_version(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"markbook {version('markbook')}\n",
        "",
    )
