"""Files that other programs read from the repository: they parse, and say what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib

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
    named = [found[1] for each in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", each))]
    assert workflow["jobs"]["run"]["strategy"]["matrix"]["python"] == named
    assert workflow["jobs"]["run"]["steps"][-1] == {"run": ".ci/run"}


def test_hooks_run_what_the_venv_has():
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["entry"].partition("/bin/")[0] for hook in local["hooks"]} == {".venv"}
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
