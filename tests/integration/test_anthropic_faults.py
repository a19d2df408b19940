"""Every fault, alone and at 30 % of calls: no invented mark, no lost sample, no unbooked token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.teachers.anthropic.group_splitting import MAX_CHARS_PER_BATCH
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall
from tests.emulator import faults
from tests.emulator.fixtures import SkippingTime, TeacherFactory
from tests.emulator.model import Settlement
from tests.emulator.server import Emulator, Entry
from tests.fakes import OpenLimiter, Reply, asked
from tests.integration.test_anthropic_teacher import assert_true_marks, true_marks

CODES = ("def f(): return 1", "def f(): return 2", "def f(): return 3")
GROUP = Group("g", "Write f.", "python", CODES)
BROKEN_FORM = tuple(faults.REPLIES)


def codes_of(reply: Reply) -> list[str]:
    return [
        outcome.code.value if isinstance(outcome, ScoringFailure) else "marked"
        for outcome in reply.outcomes
    ]


def wait_of(outcome: Judgment | ScoringFailure) -> float | None:
    assert isinstance(outcome, ScoringFailure)
    return outcome.retry_after_s


def assert_books_balance(calls: Sequence[TeacherCall], log: Sequence[Entry]) -> None:
    """Each answered call to the token and the dollar; as many others as there were, each at no
    less than charged.
    """
    entries = {entry.request_id: entry for entry in log}
    for call in calls:
        if call.usage_unknown:
            continue
        assert call.provider_request_id is not None
        entry = entries.pop(call.provider_request_id)
        bill = entry.bill or Settlement(0, 0, 0, 0, 0)
        assert (call.input_tokens, call.output_tokens) == (bill.input_tokens, bill.output_tokens)
        assert call.cache_read_input_tokens == bill.cache_read_input_tokens
        assert call.cache_creation_input_tokens == bill.cache_write_5m + bill.cache_write_1h
        assert call.cost_usd == pytest.approx(entry.dollars(), rel=1e-12)
    booked = sorted(call.cost_usd or 0.0 for call in calls if call.usage_unknown)
    charged = sorted(entry.dollars() for entry in entries.values())
    assert all(most >= least for most, least in zip(booked, charged, strict=True))


@pytest.mark.parametrize(
    ("kind", "outcomes"),
    [
        ("rate_limit", ["rate_limit_error", "end_turn"]),
        ("rate_limit_bare", ["rate_limit_error", "end_turn"]),
        ("overloaded", ["overloaded_error", "end_turn"]),
        ("api_error", ["api_error", "end_turn"]),
        ("timeout_error", ["timeout_error", "end_turn"]),
        ("slow", ["timeout", "end_turn"]),
        ("reset_before", ["connection_lost", "end_turn"]),
        ("reset_after", ["connection_lost", "end_turn"]),
        ("cut_body", ["connection_lost", "end_turn"]),
        # the samples concerned, each alone
        ("missing", ["end_turn"] * 2),
        ("repeated", ["end_turn"] * 2),
        ("out_of_range", ["end_turn"] * 2),
        ("short_line", ["end_turn"] * 2),
        ("prose", ["end_turn"] * 4),
        ("only_prose", ["end_turn"] * 4),
        ("zero_based", ["end_turn"] * 4),
        ("empty", ["end_turn"] * 4),
        ("not_json", ["unreadable"] + ["end_turn"] * 3),
        ("broken_json", ["unreadable"] + ["end_turn"] * 3),
        ("no_usage", ["end_turn"]),
        ("refusal", ["refusal"] + ["end_turn"] * 3),
        ("cut", ["max_tokens"] + ["end_turn"] * 2),
    ],
)
async def test_a_fault_that_passes_costs_a_call_and_no_mark(
    claude: TeacherFactory, emulator: Emulator, kind: str, outcomes: list[str]
) -> None:
    emulator.settings.faults = faults.script(kind)
    reply = await asked(claude(attempt_timeout_s=2.0 if kind == "slow" else 60.0), GROUP)
    assert_true_marks(CODES, reply)
    assert [call.outcome for call in reply.calls] == outcomes
    assert_books_balance(reply.calls, emulator.settle())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("bad_key", ErrorCode.TEACHER_REJECTED),
        ("billing", ErrorCode.TEACHER_REJECTED),
        ("spend_limit", ErrorCode.TEACHER_REJECTED),
    ],
)
async def test_what_asking_again_does_not_help_is_asked_once(
    claude: TeacherFactory, emulator: Emulator, kind: str, code: ErrorCode
) -> None:
    emulator.settings.faults = faults.always([kind])
    reply = await asked(claude(), GROUP)
    assert codes_of(reply) == [code.value] * 3
    assert [wait_of(outcome) for outcome in reply.outcomes] == [None] * 3
    assert len(emulator.log) == 1
    assert_books_balance(reply.calls, emulator.log)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("slow", ErrorCode.TEACHER_TIMEOUT),
        ("rate_limit_bare", ErrorCode.TEACHER_UNAVAILABLE),
        ("overloaded", ErrorCode.TEACHER_UNAVAILABLE),
    ],
)
async def test_what_lasts_until_the_deadline_may_be_asked_again(
    claude: TeacherFactory, emulator: Emulator, kind: str, code: ErrorCode
) -> None:
    emulator.settings.faults = faults.always([kind])
    # at half the jitter the waits are 0.375, 0.75, 1.5 and 3 s, and the next would be 6
    reply = await asked(
        claude(timeout_s=9.0, attempt_timeout_s=0.1 if kind == "slow" else 60.0), GROUP
    )
    assert codes_of(reply) == [code.value] * 3
    assert [wait_of(outcome) for outcome in reply.outcomes] == [6.0] * 3
    assert len(reply.calls) == 5


async def test_a_retry_after_beyond_the_deadline_is_handed_on_not_slept(
    claude: TeacherFactory, emulator: Emulator, passing_time: SkippingTime
) -> None:
    emulator.settings.faults = faults.script("rate_limit_long")
    reply = await asked(claude(), GROUP)
    assert codes_of(reply) == ["teacher_unavailable"] * 3
    assert isinstance(reply.outcomes[0], ScoringFailure)
    assert reply.outcomes[0].retry_after_s == 3600
    assert passing_time.slept == []


async def test_a_short_retry_after_is_waited_for(
    claude: TeacherFactory, emulator: Emulator, passing_time: SkippingTime
) -> None:
    emulator.settings.faults = faults.script("rate_limit")
    assert_true_marks(CODES, await asked(claude(), GROUP))
    assert sum(passing_time.slept) >= 0.05


async def test_a_refusal_falls_on_the_sample_that_earned_it(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    teacher = claude(shuffle_group=False)
    emulator.settings.faults = faults.script("refusal", None, "refusal", None)
    reply = await asked(teacher, GROUP)
    assert sorted(codes_of(reply)) == ["marked", "marked", "teacher_refused"]
    assert reply.outcomes[codes_of(reply).index("teacher_refused")] == ScoringFailure(
        ErrorCode.TEACHER_REFUSED, "the teacher refused to score this sample (cyber)"
    )
    assert len(reply.calls) == 4
    emulator.settings.faults = faults.always(["refusal"])
    alone = await asked(teacher, Group("g", "Write f.", "python", CODES[:1]))
    assert (codes_of(alone), len(alone.calls)) == (["teacher_refused"], 1)


@pytest.mark.parametrize("kind", BROKEN_FORM)
async def test_a_form_that_stays_broken_leaves_the_sample_unscored(
    claude: TeacherFactory, emulator: Emulator, kind: str
) -> None:
    emulator.settings.faults = faults.always([kind])
    reply = await asked(claude(), GROUP)
    assert len(emulator.log) <= 1 + len(CODES)
    for code, outcome in zip(CODES, reply.outcomes, strict=True):
        if isinstance(outcome, Judgment):
            assert outcome.criteria == true_marks(code)
        else:
            assert outcome.code is ErrorCode.REPLY_UNREADABLE
    assert "reply_unreadable" in codes_of(reply)
    assert_books_balance(reply.calls, emulator.log)


async def test_a_reply_that_stays_cut_is_truncated(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.faults = faults.always(["cut"])
    reply = await asked(claude(), GROUP)
    assert "reply_truncated" in codes_of(reply)
    assert set(codes_of(reply)) <= {"reply_truncated", "marked"}


async def test_a_teacher_that_is_down_fails_fast_and_is_found_again(
    claude: TeacherFactory, emulator: Emulator, passing_time: SkippingTime
) -> None:
    emulator.settings.faults = faults.always(["overloaded"])
    teacher = claude()
    replies = await asyncio.gather(*(asked(teacher, GROUP) for _ in range(30)))
    assert {code for reply in replies for code in codes_of(reply)} == {"teacher_unavailable"}
    calls = len(emulator.log)
    assert calls < 60  # 30 groups of up to 20 tries each would have been 600
    first = (await asked(teacher, GROUP)).outcomes[0]
    assert isinstance(first, ScoringFailure)
    assert first.retry_after_s is not None
    assert first.retry_after_s <= 10
    assert len(emulator.log) == calls
    emulator.settings.faults = faults.script()
    passing_time.skipped_s += first.retry_after_s
    assert_true_marks(CODES, await asked(teacher, GROUP))


async def test_a_server_that_is_not_there_costs_nothing(claude: TeacherFactory) -> None:
    reply = await asked(claude(base_url="http://127.0.0.1:9", timeout_s=5.0), GROUP)
    assert codes_of(reply) == ["teacher_unavailable"] * 3
    assert {call.outcome for call in reply.calls} == {"not_sent"}
    assert not any(call.usage_unknown or call.cost_usd for call in reply.calls)


@pytest.mark.parametrize("kind", [None, "missing"])
async def test_what_its_time_does_not_suffice_for_is_neither_asked_nor_paid(
    claude: TeacherFactory, emulator: Emulator, passing_time: SkippingTime, kind: str | None
) -> None:
    class SlowPurse(OpenLimiter):
        async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
            await super().settle(reservation, bound, bill)
            passing_time.skipped_s += 60

    emulator.settings.faults = faults.script(kind)
    codes = (
        CODES
        if kind
        else tuple(str(number) * (MAX_CHARS_PER_BATCH // 2 + 1) for number in range(2))
    )
    purse = SlowPurse()
    teacher = claude(timeout_s=60.0, shuffle_group=False)
    *marked, late = await teacher.mark(Group("g", "Write f.", "python", codes), purse)
    assert all(isinstance(outcome, Judgment) for outcome in marked)
    assert isinstance(late, ScoringFailure)
    assert (late.code, late.retry_after_s) == (ErrorCode.TEACHER_TIMEOUT, 1.0)
    assert (len(purse.bills), purse.reserved) == (1, {})
    assert not purse.bills[0].usage_unknown
    assert teacher._retry_policy.breaker._failures == 0


async def mark_until_scored(
    teacher: AnthropicTeacher, codes: Sequence[str], rounds: int = 4
) -> tuple[dict[str, dict[str, float]], list[TeacherCall]]:
    """As a client would: what came back unscored is asked for again."""
    marks: dict[str, dict[str, float]] = {}
    calls: list[TeacherCall] = []
    for attempt in range(rounds):
        missing = [code for code in codes if code not in marks]
        groups = [
            Group(f"{attempt}-{start}", "Write f.", "python", tuple(missing[start : start + 4]))
            for start in range(0, len(missing), 4)
        ]
        for group, reply in zip(
            groups, await asyncio.gather(*(asked(teacher, group) for group in groups)), strict=True
        ):
            calls += reply.calls
            for code, outcome in zip(group.codes, reply.outcomes, strict=True):
                if isinstance(outcome, Judgment):
                    marks[code] = dict(outcome.criteria)
    return marks, calls


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.long) for kind in faults.FLEETING), "all"]
)
async def test_500_samples_with_30_percent_faults(
    claude: TeacherFactory, emulator: Emulator, kind: str
) -> None:
    kinds = faults.FLEETING if kind == "all" else (kind,)
    emulator.settings.faults = faults.Faults(share=0.3, kinds=kinds, seed=7)
    codes = [f"def f(x):\n    return x + {number}\n" for number in range(500)]
    # all share one clock, so that each one's sleep is everyone's: the deadline must not be what
    # fails
    teacher = claude(
        max_concurrency=32, timeout_s=1e6, attempt_timeout_s=2.0 if "slow" in kinds else 60.0
    )
    marks, calls = await mark_until_scored(teacher, codes)
    assert all(criteria == true_marks(code) for code, criteria in marks.items())
    assert len(marks) >= 495
    log = emulator.settle()
    failed = sum(entry.fault is not None for entry in log)
    assert 0.15 < failed / len(log) < 0.45
    assert_books_balance(calls, log)
