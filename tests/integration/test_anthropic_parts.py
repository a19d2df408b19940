"""A group in several calls, and a book that is away between two of them: what is paid for is
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.errors import ServiceStoppingError, StoreUnavailableError
from markbook.scoring.store import Store
from markbook.scoring.teachers.anthropic.group_splitting import MAX_CHARS_PER_BATCH
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall
from tests.emulator import faults
from tests.emulator.fixtures import TeacherFactory
from tests.emulator.server import Emulator
from tests.fakes import OpenLimiter
from tests.integration.test_anthropic_teacher import true_marks

CODES = ("def f(): return 1", "def f(): return 2", "def f(): return 3")
GROUP = Group("g", "Write f.", "python", CODES)
LONG = Group(
    "g",
    "Write f.",
    "python",
    tuple(str(number) * (MAX_CHARS_PER_BATCH // 2 + 1) for number in range(3)),
)
AWAY = ScoringFailure(
    ErrorCode.TEACHER_UNAVAILABLE,
    f"the teacher was not called: {StoreUnavailableError('no database').detail}",
    1.0,
)
STOPPED = replace(AWAY, detail="the teacher was not called: no database")


class GappyPurse(OpenLimiter):
    """Away for the reservations of these numbers, counted from 1."""

    def __init__(self, *away: int, error: type[Exception] = StoreUnavailableError) -> None:
        super().__init__()
        self.away = away
        self.error = error
        self.count = 0

    async def reserve(self, bound: TeacherCall) -> str:
        self.count += 1
        if self.count in self.away:
            raise self.error("no database")
        return await super().reserve(bound)


async def test_a_book_away_for_the_second_asking_costs_that_sample_alone(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.faults = faults.script("missing")
    purse = GappyPurse(2)
    *marked, last = await claude(shuffle_group=False).mark(GROUP, purse)
    assert [outcome.criteria for outcome in marked if isinstance(outcome, Judgment)] == [
        *map(true_marks, CODES[:2])
    ]
    assert last == AWAY
    assert (len(purse.bills), purse.reserved) == (1, {})


async def test_the_others_asked_alone_are_waited_for(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.faults = faults.script("prose")
    emulator.settings.latency_s = 0.02
    purse = GappyPurse(2)
    outcomes = await claude(shuffle_group=False).mark(GROUP, purse)
    assert sorted(isinstance(outcome, Judgment) for outcome in outcomes) == [False, True, True]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Judgment)] == [AWAY]
    assert (len(purse.bills), purse.reserved) == (3, {})


async def test_a_defect_in_one_sample_asked_again_costs_none_of_the_others(
    claude: TeacherFactory, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.settings.faults = faults.script("prose")
    emulator.settings.latency_s = 0.02
    purse = GappyPurse(2, error=ArithmeticError)
    outcomes = await claude(shuffle_group=False).mark(GROUP, purse)
    assert sorted(isinstance(outcome, Judgment) for outcome in outcomes) == [False, True, True]
    [failure] = [outcome for outcome in outcomes if isinstance(outcome, ScoringFailure)]
    assert (failure.code, failure.detail) == (
        ErrorCode.TEACHER_UNAVAILABLE,
        "internal error of the service, see its log: retry",
    )
    assert (len(purse.bills), purse.reserved) == (3, {})
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ArithmeticError]


async def test_a_defect_in_a_later_part_costs_that_part_alone(claude: TeacherFactory) -> None:
    outcomes = await claude(shuffle_group=False).mark(LONG, GappyPurse(2, error=ArithmeticError))
    assert [isinstance(outcome, Judgment) for outcome in outcomes] == [True, False, True]


async def test_a_defect_before_anything_is_paid_for_is_raised(claude: TeacherFactory) -> None:
    with pytest.raises(ArithmeticError):
        await claude().mark(GROUP, GappyPurse(1, error=ArithmeticError))


async def test_a_stop_ends_the_group_or_what_is_asked_again_but_never_what_is_marked(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    with pytest.raises(ServiceStoppingError):
        await claude().mark(GROUP, GappyPurse(1, error=ServiceStoppingError))
    emulator.settings.faults = faults.script("missing")
    *marked, last = await claude(shuffle_group=False).mark(
        GROUP, GappyPurse(2, error=ServiceStoppingError)
    )
    assert [isinstance(outcome, Judgment) for outcome in marked] == [True, True]
    assert last == STOPPED


async def test_a_book_away_for_a_later_part_costs_that_part_alone(claude: TeacherFactory) -> None:
    purse = GappyPurse(2)
    first, second, third = await claude(shuffle_group=False).mark(LONG, purse)
    assert isinstance(first, Judgment)
    assert second == AWAY
    assert isinstance(third, Judgment)
    assert (len(purse.bills), purse.reserved) == (2, {})


@pytest.mark.parametrize(("group", "fault"), [(GROUP, None), (LONG, None), (LONG, "bad_key")])
async def test_while_nothing_is_answered_a_book_away_is_said(
    claude: TeacherFactory, emulator: Emulator, group: Group, fault: str | None
) -> None:
    emulator.settings.faults = faults.script(fault)
    purse = GappyPurse(2 if fault else 1)
    with pytest.raises(StoreUnavailableError, match="no database"):
        await claude(shuffle_group=False).mark(group, purse)
    assert purse.reserved == {}


async def test_marks_of_a_first_answer_are_in_the_book_though_it_was_away_for_the_second(
    service: Callable[..., object], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    emulator.settings.faults = faults.script("missing")
    reserve = Store.reserve
    count = 0

    async def gappy(self, *arguments):
        nonlocal count
        count += 1
        if count == 2:
            raise StoreUnavailableError("no database")
        return await reserve(self, *arguments)

    monkeypatch.setattr(Store, "reserve", gappy)
    samples = [{"prompt": "Write f.", "language": "python", "code": code} for code in CODES]
    teacher = {"name": "anthropic", "base_url": emulator.url, "shuffle_group": False}
    async with service({"teacher": teacher}, by=None) as http:
        first = await http.post("/score", json={"samples": samples})
        second = await http.post("/score", json={"samples": samples})
    assert (first.status_code, second.status_code) == (200, 200)
    assert [result["source"] for result in first.json()["results"]] == ["teacher", "teacher", None]
    assert first.json()["results"][2]["error"]["retry_after_s"] == 1.0
    assert [result["source"] for result in second.json()["results"]] == [
        "cache",
        "cache",
        "teacher",
    ]
    assert [len(entry.codes) for entry in emulator.log] == [3, 1]
