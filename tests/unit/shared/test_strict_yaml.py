"""YAML with one reading only, and files that begin with a byte order mark."""

from __future__ import annotations

import pytest
import yaml

from markbook.cli.files import read_text
from markbook.config.loading import ConfigError, load_config
from markbook.config.strict_yaml import load_yaml
from markbook.scoring.cli import estimate
from markbook.scoring.prompts.rubric import load_rubric
from markbook.trainer.data.tasks import check_tasks

BOM = "\ufeff"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("00.5", 0.5),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
        ("0o10", "0o10"),  # no number in YAML 1.1
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'010'", "010"),
        ("v1.2", "v1.2"),
        ("-", [None]),
        ("{a: &x {b: 1}, c: {<<: *x, b: 2}}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)
def test_a_scalar_is_what_its_author_means(text, value):
    assert load_yaml(text) == value
    assert type(load_yaml(text)) is type(value)


@pytest.mark.parametrize("text", ["010", "-010", "+07", "08", "0_1", "00"])
def test_a_number_that_begins_with_zero_has_two_readings(text):
    with pytest.raises(yaml.YAMLError, match="octal to some readers"):
        load_yaml(f"a: {text}")


def test_the_message_says_line_and_what_to_write(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("training:\n  seed: 010\n")
    with pytest.raises(
        ConfigError, match=r"c\.yaml is not valid YAML: line 2: 010 is octal .*: write 10, or '010'"
    ):
        load_config(file, {})
    with pytest.raises(ConfigError, match="MARKBOOK_TRAINING__SEED is not valid YAML: line 1: 010"):
        load_config(None, {"MARKBOOK_TRAINING__SEED": "010"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training:\n  seed: 1\n  lora_r: 8\n  seed: 2\n",
            "the key seed is given twice, in lines 2 and 4",
        ),
        (
            "training: {seed: 1}\nteacher:\ntraining: {lora_r: 8}\n",
            "the key training is given twice, in lines 1 and 3",
        ),
        (
            "budgets:\n  runs:\n    a: {usd: 1}\n    'a': {usd: 2}\n",
            "the key a is given twice, in lines 3 and 4",
        ),
    ],
)
def test_a_key_given_twice_is_named_with_both_lines(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(file, {})


def test_a_rubric_names_no_criterion_twice(tmp_path):
    file = tmp_path / "r.md"
    file.write_text("---\ncriteria:\n  a: 0.5\n  b: 0.5\n  a: 0.5\n---\na and b\n")
    with pytest.raises(ConfigError, match="the key a is given twice, in lines 2 and 4"):
        load_rubric(file)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_text(BOM + "training:\n  seed: 3\n", encoding="utf-8")
    config = load_config(file, {})
    assert config.training.seed == 3
    file.write_text(BOM + "---\ncriteria: {a: 1}\n---\na\n", encoding="utf-8")
    assert load_rubric(file).criteria == {"a": 1.0}
    file.write_text(BOM + '{"prompt": "p", "language": "go"}\r\n', encoding="utf-8")
    check_tasks(config.training.model_copy(update={"tasks": str(file), "eval_tasks": None}))
    [task] = estimate._tasks(str(file))
    assert (task.prompt, task.language) == ("p", "go")
    file.write_text(BOM + "x = 1\n", encoding="utf-8")
    assert read_text(str(file)) == "x = 1\n"
