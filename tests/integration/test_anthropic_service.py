"""The whole service with Claude as its teacher, over real HTTP to the emulator: switches, rubric
files, places.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from markbook.scoring.prompts.prompt import CUT, system_text
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.types import CRITERIA
from tests.emulator import faults, judges
from tests.emulator.server import Emulator

TASK = "Write f that returns a number. " + "It must be fast. " * 20 + "Keep it short."
CODES = ("def f(): return 1", "def f(): return 2", "def f(): return 3", "def f(: return 4")
OLD = {
    "move_rubric_to_system_prompt": False,
    "truncate_prompt_for_scoring": False,
    "use_tiered_scoring": False,
}


@pytest.fixture
def marked(service, emulator: Emulator, monkeypatch: pytest.MonkeyPatch):
    """`await marked(rlaif, **teacher)`: the results for CODES, by a service whose teacher is on
    the emulator.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")

    async def mark(rlaif: dict[str, object] | None = None, **teacher: object):
        samples = [{"prompt": TASK, "language": "python", "code": code} for code in CODES]
        on_emulator = {"name": "anthropic", "base_url": emulator.url, **teacher}
        async with service({"rlaif": rlaif or {}, "teacher": on_emulator}, by=None) as http:
            answer = await http.post("/score", json={"samples": samples})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    return mark


def messages(emulator: Emulator) -> list[str]:
    return [entry.body["messages"][0]["content"] for entry in emulator.log]


async def test_all_on_is_one_call_with_the_rubric_before_and_the_task_cut(marked, emulator):
    results = await marked()
    assert [result["source"] for result in results] == ["teacher"] * 3 + ["heuristic"]
    [entry] = emulator.log
    assert entry.body["system"][0]["text"] == system_text(load_rubric(), explain=False)
    assert sorted(entry.codes) == sorted(CODES[:3])
    assert CUT in messages(emulator)[0]
    assert "Keep it short." not in messages(emulator)[0]


async def test_all_off_is_a_call_a_sample_with_rubric_and_whole_task_in_each_message(
    marked, emulator
):
    results = await marked(OLD, max_group_size=1)
    assert [result["source"] for result in results] == ["teacher"] * 4
    assert sorted(code for entry in emulator.log for code in entry.codes) == sorted(CODES)
    rubric = system_text(load_rubric(), explain=False)
    for entry, message in zip(emulator.log, messages(emulator), strict=True):
        assert "system" not in entry.body
        assert message.startswith(rubric)
        assert TASK in message
        assert CUT not in message.removeprefix(rubric)
        assert (entry.bill.cache_read_input_tokens, entry.bill.cache_write_5m) == (0, 0)
    for code, result in zip(CODES, results, strict=True):
        true = zip(CRITERIA, judges.marks_for(code), strict=True)
        assert result["criteria"] == {name: mark / 100 for name, mark in true}


async def test_each_switch_alone_brings_back_its_part(marked, emulator):
    await marked({"move_rubric_to_system_prompt": False})
    await marked({"truncate_prompt_for_scoring": False})
    await marked({"use_tiered_scoring": False, "prompt_context_chars": 201})
    await marked(max_group_size=1)
    in_message, whole, all_codes, *singles = emulator.log
    assert ["system" in entry.body for entry in emulator.log] == [False] + [True] * 5
    assert [TASK in message for message in messages(emulator)] == [False, True] + [False] * 4
    assert [len(entry.codes) for entry in (in_message, whole, all_codes)] == [3, 3, 4]
    assert [len(entry.codes) for entry in singles] == [1, 1, 1]


async def test_head_tail_shows_the_end_of_the_task_as_well(marked, emulator):
    await marked({"prompt_context_policy": "head_tail"})
    [message] = messages(emulator)
    assert "Write f that returns a number." in message
    assert f"{CUT} " in message
    assert "Keep it short." in message
    assert TASK not in message


async def test_the_place_of_each_sample_is_kept_beside_its_mark(marked, emulator, sqlite_url):
    # the reply lacks the last sample, which is then asked alone
    emulator.settings.faults = faults.script("missing")
    await marked()
    together, alone = [entry.codes for entry in emulator.log]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as book:
        rows = book.execute("SELECT criteria, group_position, group_size FROM marks").fetchall()
    codes = {judges.marks_for(code): code for code in CODES}
    kept = {codes[marks_in(criteria)]: (place, shown) for criteria, place, shown in rows}
    assert kept == {together[0]: (1, 3), together[1]: (2, 3), alone[0]: (1, 1)}
    assert alone == together[2:]


def marks_in(criteria: str) -> tuple[int, ...]:
    return tuple(round(100 * mark) for mark in json.loads(criteria))


async def test_a_rubric_of_your_own_is_used_by_the_service(marked, emulator, tmp_path):
    file = tmp_path / "mine.md"
    criteria = "".join(f"  {name}: 0.25\n" for name in ("style", "speed", "safety", "sense"))
    file.write_text(
        f"---\ncriteria:\n{criteria}---\nstyle, speed, safety and sense: as you see fit."
    )
    result = (await marked(rubric=str(file)))[0]
    assert list(result["criteria"]) == ["style", "speed", "safety", "sense"]
    assert result["score"] == pytest.approx(sum(judges.marks_for(CODES[0])) / 400)
