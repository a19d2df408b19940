"""A corpus of replies: what is accepted is right, what is ambiguous is refused, and what that
saves.
"""

from __future__ import annotations

import re

import pytest

from markbook.scoring.teachers.anthropic.reply_parser import read_reply
from markbook.scoring.types import Judgment
from tests.unit.scoring.replies import ACCEPTED, CRITERIA, GROUPS, Marks, Reply, replies

CORPUS = list(replies())


def marks(reply: Reply) -> tuple[Marks | None, ...]:
    found: list[Marks | None] = []
    for outcome in read_reply(reply.text, reply.count, CRITERIA, explain=reply.explain):
        is_marked = isinstance(outcome, Judgment)
        found.append(
            tuple(round(100 * outcome.criteria[name]) for name in CRITERIA) if is_marked else None
        )
    return tuple(found)


def test_the_corpus_is_large_enough():
    assert len({(reply.text, reply.explain) for reply in CORPUS}) >= 250


@pytest.mark.parametrize("reply", CORPUS, ids=lambda reply: f"{reply.form}-{reply.count}")
def test_nothing_wrong_is_accepted_and_nothing_clear_refused(reply):
    assert marks(reply) == reply.expected


@pytest.mark.parametrize("form", ACCEPTED)
def test_a_cut_reply_in_any_form_gives_no_mark_that_was_not_finished(form):
    group = GROUPS[3]
    text = ACCEPTED[form](group)
    for end in range(len(text)):
        for outcome, expected in zip(
            read_reply(text[:end], len(group), CRITERIA, cut=True), group, strict=True
        ):
            if isinstance(outcome, Judgment):
                assert tuple(round(100 * outcome.criteria[name]) for name in CRITERIA) == expected


@pytest.mark.parametrize("char", [" ", "-", "|", "`", "1", ",", "a", "#"])
def test_a_reply_of_any_length_is_read_in_linear_time(char):
    """Other servers need not heed max_tokens.

    A quadratic pattern would take minutes here, and hold the service up.
    """
    for text in (
        char * 300_000 + "x",
        "sample" + char * 300_000 + "x",
        "1 80" + char * 300_000 + "x",
    ):
        assert not any(isinstance(each, Judgment) for each in read_reply(text, 2, CRITERIA))


def test_calls_saved_beside_lines_of_numbers_alone(record_property):
    """A reply that is refused as a whole is paid for again, one call per sample."""
    strict = re.compile(r"(?:\s*\d{1,6}(?:\s+\d{1,6})*\s*(?:\n|$)|\s*\n)*", re.ASCII)
    refused_before = [
        reply for reply in CORPUS if not reply.explain and not strict.fullmatch(reply.text)
    ]
    accepted_now = [reply for reply in refused_before if any(marks(reply))]
    calls = sum(reply.count for reply in accepted_now)
    record_property("replies", len(CORPUS))
    record_property("accepted now, refused before", len(accepted_now))
    record_property("calls saved", calls)
    assert (
        len(accepted_now) == sum(reply.form in ACCEPTED for reply in refused_before) + 3
    )  # three single ones
    assert calls > 500
