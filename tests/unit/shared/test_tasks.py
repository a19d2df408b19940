"""Task files: Markbook's form, HumanEval's, MBPP's, and what is none of them."""

from __future__ import annotations

import gzip
import json

import pytest

from markbook.config.loading import ConfigError
from markbook.split_tests import split_check
from markbook.tasks import parse_task, read_tasks

CHECK = '''
METADATA = {"author": "x"}
import math

def check(candidate):
    """docs"""
    assert True, "nothing"
    eps = 0.1
    assert candidate(1) == 2
    print("on")
    for x in range(3):
        assert abs(candidate(x) - x - 1) < eps
    eps = 0.2
    assert candidate(5) == 6, "message"

check(f)
'''


def test_markbooks_own_form():
    task = parse_task(
        json.dumps({"prompt": "p", "language": "python", "tests": ["assert f(1)"], "id": 7})
    )
    assert (task.prompt, task.tests, task.test_setup, task.solution) == (
        "p",
        ["assert f(1)"],
        "",
        None,
    )


def test_humanevals_form_is_split_into_asserts():
    line = {
        "prompt": "def f(x):\n",
        "test": CHECK,
        "entry_point": "f",
        "canonical_solution": "    return x + 1\n",
    }
    task = parse_task(json.dumps(line))
    assert task.language == "python"
    assert task.solution == "def f(x):\n    return x + 1\n"
    assert task.test_setup == "import math\ncandidate = f"
    assert task.tests == [
        "eps = 0.1\nassert candidate(1) == 2",
        "eps = 0.1\nfor x in range(3):\n    assert abs(candidate(x) - x - 1) < eps",
        "eps = 0.1\neps = 0.2\nassert candidate(5) == 6, 'message'",
    ]


def test_a_check_that_is_named_as_the_function_needs_no_binding():
    assert split_check("def check(f):\n    assert f(1) == 1\ncheck(f)", "f") == (
        "",
        ["assert f(1) == 1"],
    )
    assert split_check("assert f(1) == 1", "f") == ("", ["assert f(1) == 1"])
    assert split_check("def check(f:", "f") == ("", ["def check(f:"])
    early = "def check(f):\n    if f(1): return\n    assert f(2)"
    assert split_check(early, "f") == ("", [early])


def test_mbpps_form_shows_its_tests():
    line = {
        "text": "Add.",
        "code": "def f(): pass",
        "test_list": ["assert f(1)", "assert f(2)"],
        "test_setup_code": "import re",
    }
    task = parse_task(json.dumps(line))
    assert task.prompt == "Add.\nYour code should pass these tests:\nassert f(1)\nassert f(2)"
    assert (task.tests, task.test_setup, task.solution) == (
        line["test_list"],
        "import re",
        "def f(): pass",
    )
    sanitized = parse_task(
        json.dumps(
            {
                "prompt": "Add.",
                "code": "",
                "test_list": ["assert 1"],
                "test_imports": ["import re", "import os"],
            }
        )
    )
    assert sanitized.prompt.startswith("Add.\n")
    assert sanitized.test_setup == "import re\nimport os"


def test_a_compressed_file_is_read(tmp_path):
    path = tmp_path / "tasks.jsonl.gz"
    path.write_bytes(gzip.compress(b'\n{"prompt": "p", "language": "python"}\n'))
    assert [(number, task.prompt) for number, task in read_tasks(path)] == [(2, "p")]
    path.write_bytes(gzip.compress(b"{}")[:-9])
    with pytest.raises(ConfigError, match="cut off or damaged"):
        read_tasks(path)
    path.write_bytes(b"{}")
    with pytest.raises(ConfigError, match=r"cannot read the tasks .*: not gzip"):
        read_tasks(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"prompt": "p", "language": "python", "tests": [" "]}',
            "tests.0: String should match pattern",
        ),
        (
            '{"prompt": "p", "language": "python", "tests": "assert 1"}',
            "tests: Input should be a valid array",
        ),
        (
            '{"prompt": "p", "test": "x", "entry_point": "a b"}',
            "entry_point: String should match pattern",
        ),
        ('{"text": "p", "test_list": [3]}', "test_list.0: Input should be a valid string"),
        ('{"test_list": ["assert 1"]}', "text: Input should be a valid string"),
        ("[" * 100_000, "the line: Invalid JSON"),
        ("[]", "the line: Input should be an object"),
    ],
)
def test_what_is_no_task_is_refused_with_its_line(tmp_path, line, message):
    path = tmp_path / "tasks.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError) as caught:
        read_tasks(path)
    assert f"{path}:1: {message}" in str(caught.value)
