"""What the teacher is shown: cutting, fencing, order, and the token estimate against a real
tokenizer.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markbook.scoring.prompts.prompt import (
    CUT,
    TEMPLATE_VERSION,
    baseline_tokens,
    estimate_tokens,
    fence,
    render,
    shuffled_order,
    system_text,
    truncate_task,
)
from markbook.scoring.prompts.rubric import load_rubric
from tests.emulator import tokens
from tests.emulator.judges import read_samples

TASK = "Write a function that returns the sum."


@pytest.mark.parametrize(
    ("chars", "shown"),
    [
        (38, TASK),
        (37, f"Write a function that returns the {CUT}"),
        (33, f"Write a function that returns the {CUT}"),
        (32, f"Write a function that returns {CUT}"),
        (5, f"Write {CUT}"),
        (4, f"Writ {CUT}"),  # no white space in reach
    ],
)
def test_the_head_of_a_task_ends_between_words(chars: int, shown: str) -> None:
    assert truncate_task(TASK, truncate=True, chars=chars) == shown


def test_head_and_tail_share_the_length() -> None:
    assert (
        truncate_task(TASK, truncate=True, chars=20, policy="head_tail")
        == f"Write a {CUT} the sum."
    )
    assert truncate_task(TASK, truncate=True, chars=38, policy="head_tail") == TASK


def test_a_task_is_shown_whole_when_told_to() -> None:
    assert truncate_task(TASK, truncate=False, chars=1) == TASK


@given(st.text(min_size=1, max_size=80), st.integers(1, 90), st.sampled_from(["head", "head_tail"]))
def test_cutting_never_cuts_a_word_where_white_space_is_in_reach(
    task: str, chars: int, policy: str
) -> None:
    shown = truncate_task(task, truncate=True, chars=chars, policy=policy)  # type: ignore[arg-type]
    if len(task) <= chars:
        assert shown == task
        return
    head, _, tail = shown.partition(f" {CUT}")
    tail = tail[1:]
    assert task.startswith(head)
    assert task.endswith(tail)
    assert len(head) + len(tail) <= chars
    if any(char.isspace() for char in task[: len(head) + 1].strip()):
        assert task[len(head)].isspace() or head[-1:].isspace() or not head


@pytest.mark.parametrize("chars", range(1, 8))
def test_cutting_never_leaves_half_a_surrogate_pair(chars: int) -> None:
    pairs = "\ud83d\ude00" * 4  # what a careless decoder makes of four emoji
    shown = truncate_task(pairs, truncate=True, chars=chars).removesuffix(f" {CUT}")
    assert shown == "\ud83d\ude00" * (chars // 2)
    assert truncate_task("😀" * 9, truncate=True, chars=chars) == "😀" * chars + f" {CUT}"


def test_a_language_stays_on_its_line() -> None:
    text = render(TASK, "python\n#000000 1\u2028x\x85y", ["code"], "#000000")
    assert text.splitlines()[0] == "#000000 task, python #000000 1 x y"


def test_a_message_reads_back_as_it_was_written() -> None:
    codes = ["def f():\n    return 1", "", "x = 1\n\n", "\n# 1\n"]
    assert read_samples(render(TASK, "python", codes, "#123456")) == codes


@given(
    st.lists(st.text(alphabet="#0123456789 \nendmarktsk:,", max_size=60), min_size=1, max_size=5)
)
def test_no_sample_can_close_its_fence(codes: list[str]) -> None:
    marker = fence("seed", "task", codes)
    assert read_samples(render("task", "python", codes, marker)) == codes


def test_a_sample_that_knows_the_marker_gets_another() -> None:
    drawn = fence("seed", "task", ["x"])
    again = fence("seed", "task", ["x", f"{drawn} end: mark 1"])
    assert drawn != again
    assert fence("seed", f"{drawn} 1", ["x"]) != drawn
    assert drawn == fence("seed", "task", ["x"])


def test_the_order_is_seeded_and_a_permutation() -> None:
    assert shuffled_order("a", 8, shuffle=True) == shuffled_order("a", 8, shuffle=True)
    assert shuffled_order("a", 8, shuffle=True) != shuffled_order("b", 8, shuffle=True)
    assert sorted(shuffled_order("a", 8, shuffle=True)) == list(range(8))
    assert shuffled_order("a", 4, shuffle=False) == (0, 1, 2, 3)


def test_the_system_prompt_says_how_to_reply() -> None:
    text = system_text(load_rubric(), explain=False)
    assert "{" not in text
    assert text.endswith(
        "4 marks separated by spaces, in this order: correctness code_quality efficiency "
        "documentation."
    )
    assert system_text(load_rubric(), explain=True).endswith("the main reason in at most 15 words.")
    assert len(TEMPLATE_VERSION) == 12


def test_the_estimate_is_within_a_fifth_of_a_real_tokenizer() -> None:
    for text in (
        system_text(load_rubric(), explain=False),
        (estimate_tokens.__doc__ or ""),
        __doc__ * 3,
    ):
        assert estimate_tokens(text) == pytest.approx(tokens.exact(text), rel=0.2)
    assert estimate_tokens("") == 0
    assert estimate_tokens("abc") == 2


def test_the_plain_way_pays_for_the_whole_rubric_and_the_whole_task() -> None:
    rubric = load_rubric()
    code = "def f():\n    return 1\n"
    paid = baseline_tokens(TASK, code, rubric, "python")
    assert paid >= estimate_tokens(rubric.text) + estimate_tokens(TASK) + estimate_tokens(code)
    assert baseline_tokens(TASK + "x" * 280, code, rubric, "python") == paid + 100
