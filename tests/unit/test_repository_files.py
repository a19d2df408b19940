"""Files that other programs read from the repository: they parse, and say what pyproject.toml
says.
"""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
import yaml

from tests.processes import ROOT

FILES = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"])


def test_they_are_yaml():
    assert len(FILES) == 4
    for file in FILES:
        assert isinstance(yaml.safe_load(file.read_text()), dict), file


def test_ci_runs_every_python_that_the_package_is_for():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [
        found[1] for each in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", each))
    ]
    assert workflow["jobs"]["run"]["strategy"]["matrix"]["python"] == named
    assert workflow["jobs"]["run"]["steps"][-1] == {"run": ".ci/run"}


def test_hooks_run_what_the_venv_has():
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["entry"].partition("/bin/")[0] for hook in local["hooks"]} == {".venv"}
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


def test_nothing_lies_at_the_top_that_does_not_belong_there():
    """A program that took an option for the name of a folder once left its pictures here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"git lists no files here: {listed.stderr.strip()}")
    names = {
        name.partition("/")[0]
        for name in listed.stdout.split("\0")
        if name and not name.startswith(".")
    }
    folders = {"benchmarks", "demo", "deploy", "docs", "services", "shared", "tests", "trainer"}
    files = {
        "Dockerfile",
        "LICENSE",
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    }
    settings = {
        "config.yaml",
        "docker-compose.yml",
        "mkdocs.yml",
        "pyproject.toml",
        "requirements.lock",
    }
    assert names == folders | files | settings
