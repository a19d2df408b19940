"""The card of a trained adapter: what it was made of, what it brought, and how it is loaded."""

from __future__ import annotations

import json

import pytest
import yaml

from markbook.contract import Counters, Source
from markbook.trainer.model_card import Origin, render_model_card
from markbook.trainer.run import FINISHED
from tests.unit.trainer.stub import StubService, scored

CRITERIA = dict.fromkeys(("correctness", "code_quality", "efficiency", "documentation"), 0.5)
ORIGIN = Origin(
    "owner/name",
    "train.jsonl",
    "eval.jsonl",
    "claude-haiku-5-5",
    "Claude over HTTP",
    False,
    "abc",
    "0f",
)
COUNTERS = Counters(
    samples=1200, unscored=200, by_source={Source.TEACHER: 900, Source.CACHE: 100, Source.TESTS: 0}
)
CHANGE = {
    "before": 0.25,
    "after": 0.5,
    "difference": 0.25,
    "interval_95": [0.125, 0.375],
    "tasks": 64,
}
SUMMARY = {
    "run": "a-run",
    "ended": "finished",
    "steps": 50,
    "skipped_steps": 1,
    "pass_at_k": {"1": CHANGE},
    "mark": {**CHANGE, "after": None},
    "training": COUNTERS.model_dump(mode="json"),
    "evaluation": Counters().model_dump(mode="json"),
}


def parts(card: str) -> tuple[dict[str, object], dict[str, str]]:
    """Its metadata, and the rows of its table."""
    _, head, text = card.split("---\n", 2)
    rows = [
        line.strip("| ").split(" | ", 1)
        for line in text.splitlines()
        if line.startswith("| ") and " | " in line
    ]
    return yaml.safe_load(head), {row[0]: row[1] for row in rows if len(row) == 2}


def test_the_card_has_what_the_run_was_made_of_and_what_it_brought():
    head, rows = parts(render_model_card(ORIGIN, SUMMARY))
    assert head == {
        "base_model": "owner/name",
        "library_name": "peft",
        "tags": ["lora", "reinforcement-learning", "markbook"],
    }
    assert rows == {
        "base": "owner/name",
        "tasks": "train.jsonl",
        "evaluation tasks": "eval.jsonl",
        "teacher": "claude-haiku-5-5: Claude over HTTP",
        "rubric": "version abc",
        "profile of the marks": "0f",
        "marks, training": "1,000 of 1,200 samples: cache 100, teacher 900",
        "marks, evaluation": "0 of 0 samples:",
        "pass@1": "0.250 before, 0.500 after (+0.250, 95% interval +0.125 to +0.375, 64 tasks)",
        "mean mark": "0.250 before; not evaluated after",
        "steps": "50, 1 of them skipped; finished",
    }


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("owner/name", "owner/name"),
        ("bundled:smollm2-135m", "data/models/smollm2-135m"),
        ("./my/model", "./my/model"),
        ("/models/x", "/models/x"),
    ],
)
def test_it_shows_how_to_load_it(model, base):
    origin = Origin(model, "t", None, "m", "d", True, "r", "p")
    card = render_model_card(origin, SUMMARY)
    head, rows = parts(card)
    assert ("base_model" in head) == (model == "owner/name")  # the Hub refuses a folder
    assert f"base = {base!r}\n" in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert rows["evaluation tasks"] == "none"
    assert "static stub, which is no judge" in card


def test_what_others_have_written_stays_in_its_cell():
    hostile = "a | b\n# c <script> [x](y) \u202e"
    origin = Origin("owner/name", hostile, None, "m", hostile, False, "r", "p")
    _, rows = parts(render_model_card(origin, SUMMARY))
    assert rows["tasks"] == "a \\| b # c \\<script> \\[x](y) \\\\u202e"


def test_a_run_writes_its_card_and_the_same_in_its_summary(run, tmp_path):
    with StubService(lambda _: scored(0.5, CRITERIA)) as service:
        assert run(service) == FINISHED
    _, rows = parts((tmp_path / "run" / "adapter" / "README.md").read_text(encoding="utf-8"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert rows["rubric"] == f"version {summary['rubric']}" == "version r"
    assert rows["tasks"] == summary["tasks"]
    assert (rows["base"], rows["profile of the marks"]) == (summary["model"], summary["profile"])
    assert rows["teacher"] == f"{summary['teacher']}: {summary['teacher_description']}"
    assert summary["teacher_is_stub"] is True
    assert rows["marks, training"].startswith(f"{summary['training']['samples']} of ")
    assert rows["mean mark"].startswith("0.500 before, 0.500 after (+0.000")
