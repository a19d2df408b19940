"""What is stored under these names and hashes by every release so far: a change of one loses marks,
counts or runs.

Whoever changes one on purpose raises a version or writes a migration, says so in the CHANGELOG, and
then changes the value here.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields

import pytest

from markbook.client.batching import make_part
from markbook.config.loading import load_config
from markbook.contract import ScoreRequest
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.pipeline.code_extraction import EXTRACTOR_VERSION
from markbook.scoring.pipeline.group_scorer import PreparedSample
from markbook.scoring.pipeline.preparation import prepare_samples
from markbook.scoring.pipeline.profile_inputs import mark_identity
from markbook.scoring.pipeline.results import build_ledger_line
from markbook.scoring.prompts.prompt import (
    TEMPLATE_VERSION,
    fence,
    render,
    shuffled_order,
    system_text,
)
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.store.settlement import TOTAL, CallContext, key_scope, ledger_line, run_scope
from markbook.scoring.teachers import make_teacher
from markbook.scoring.types import ScoringFailure, TeacherCall
from markbook.trainer.checkpoint import Progress
from markbook.trainer.rollout.queue import Draw
from markbook.trainer.types import Sample, Task


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_the_profile_of_the_default_teacher(monkeypatch):
    """The name under which every mark of a user with default settings is stored."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    config, rubric = load_config(environ={"MARKBOOK_TEACHER": "anthropic"}), load_rubric()
    teacher = make_teacher(config, rubric)
    identity = mark_identity(config, teacher, rubric)
    await teacher.close()
    assert identity == {
        "teacher": {
            "name": "anthropic",
            "model": "claude-haiku-5-5",
            "thinking": "disabled",
            "effort": None,
            "explain": False,
            "shuffle_group": True,
        },
        "rubric": "88465558171b",
        "template": "0299d7d49d1a",
        "extractor": "2",
        "max_group_size": 8,
        "prompt_chars": 200,
        "prompt_policy": "head",
        "rubric_in_system_prompt": True,
    }
    assert hash_profile(identity) == "64f51afb2ae941a8"


def test_what_the_teacher_is_shown():
    rubric = load_rubric()
    assert (rubric.version, TEMPLATE_VERSION, EXTRACTOR_VERSION) == (
        "88465558171b",
        "0299d7d49d1a",
        "2",
    )
    assert [sha256(system_text(rubric, explain=explain)) for explain in (False, True)] == [
        "fe25fa94e12967f2db0ee80042ede62b434b8908b50213e7d84b32d91024bbde",
        "5d8d18214c6f30f896d73396508d773d3ede39f858a17b77c9c42eea412f3e9c",
    ]
    assert fence("seed", "task", ("a", "b")) == "#144950"
    assert shuffled_order("g", 5, shuffle=True) == (2, 4, 3, 0, 1)
    message = "XX task, python\nWrite f.\nXX 1\na\nXX 2\nb\nXX end: mark 1 to 2"
    assert render("Write f.", "python", ["a", "b"], "XX") == message


def test_the_scopes_of_budgets_and_the_columns_of_a_reserved_call():
    assert (TOTAL, run_scope("demo"), key_scope("ann")) == ("total", "run demo", "key ann")
    call = TeacherCall("m", "ok", 1, 2, 3, 4, cost_usd=1e-9, billed_input_equivalent=5.0)
    assert ledger_line(CallContext("demo", "ab" * 8, 6), call, 7) == {
        "at_ms": 7,
        "model": "m",
        "outcome": "ok",
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "billed_input_equivalent": 5.0,
        "usage_unknown": False,
        "provider_request_id": None,
        "duration_ms": None,
        "failed": False,
        "run": "demo",
        "group_id": "ab" * 8,
        "samples": 6,
        "cost_nusd": 1,
    }
    assert [field.name for field in fields(ScoringFailure)] == [
        "code",
        "detail",
        "retry_after_s",
    ]  # JSON in claims.failure


async def items(request: ScoreRequest) -> list[PreparedSample]:
    return await prepare_samples(request.samples, "00" * 8, use_tests=True)


async def test_the_ids_by_which_a_request_is_counted_once():
    progress = Progress("checksum", "r" * 32)
    assert progress.request_id("train", 0, 3, 1, 0) == "51208aaa745e5abb80751c0954daa44b"
    assert progress.request_id("eval_0", 1, 0, 2, 0) == "1eeb343dd6155bf499f6cc885174155d"
    sample = {"prompt": "task", "language": "python", "code": "def f():\n    return 1\n"}
    request = ScoreRequest.model_validate(
        {"run": "demo", "request_id": "abcdefgh", "samples": [sample]}
    )
    assert (
        make_part(request, request.samples, "part 1").request_id
        == "bdacba4267ed56d1908e9c03d00a1657"
    )
    assert (
        make_part(request, request.samples, "again 1").request_id
        == "2e8f94ec8c7852e7af8ecf880883c19c"
    )
    assert (
        build_ledger_line(request, await items(request), [], 0, 0).request_id
        == "ad3211e8e25fc4d297600224bbf1e7f5"
    )


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        (Draw, ["run", "phase", "stream", "step"]),
        (Task, ["index", "prompt", "language", "token_ids", "tests", "test_setup"]),
        (Sample, ["task", "ids", "text", "truncated", "log_probs", "updates"]),
        (
            Progress,
            [
                "base",
                "run_id",
                "step",
                "begun",
                "logs",
                "evaluations",
                "outcomes",
                "counters",
                "seconds",
            ],
        ),
    ],
)
def test_the_names_in_a_checkpoint(kept, names):
    assert [field.name for field in fields(kept)] == names
