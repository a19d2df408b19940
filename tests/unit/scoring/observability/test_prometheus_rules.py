"""The alerting rules in deploy/: promtool accepts them, they fire when they should, and name
metrics that exist.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.processes import ROOT
from tests.unit.scoring.observability.test_metrics import score, scrape

RULES = ROOT / "deploy" / "prometheus-rules.yml"
CASES = ROOT / "tests" / "deploy" / "prometheus_rules_test.yml"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian's package prometheus)",
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_promtool_accepts_the_rules():
    assert "9 rules found" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_the_rules_fire_when_they_should():
    assert "SUCCESS" in promtool("test", "rules", str(CASES))


@needs_promtool
def test_a_rule_that_does_not_fire_is_noticed(tmp_path):
    """So that the test above can fail."""
    (tmp_path / "rules.yml").write_text(RULES.read_text().replace("== 0", "== 7"))
    (tmp_path / "cases.yml").write_text(
        CASES.read_text().replace("../../deploy/prometheus-rules.yml", "rules.yml")
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "cases.yml")], capture_output=True, timeout=60
    )
    assert done.returncode == 1


async def test_every_metric_of_the_rules_is_there_with_its_labels(service):
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    async with service({"budgets": {"total": {"usd": 1.0}}}) as http:
        await score(http, "add")
        labels = (await scrape(http)).labels
    names = set()
    for rule in rules:
        for name, selector in re.findall(r"\b(markbook_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert name in labels, f"{rule['alert']}: {name} is not in /metrics"
            assert set(re.findall(r"(\w+)=", selector)) <= labels[name], (
                f"{rule['alert']}: {selector}"
            )
            names.add(name)
        grouped = re.findall(r"by \(([^)]*)\)", rule["expr"])
        for label in {label.strip() for each in grouped for label in each.split(",")} - {
            "job",
            "instance",
        }:
            assert any(label in labels[name] for name in names), (
                f"{rule['alert']}: no label {label}"
            )
    assert len(names) >= 6
