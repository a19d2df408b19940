"""samples.html: which samples are shown, and that what a student writes is text, whatever it
holds.
"""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from markbook.trainer.monitoring.samples_report import (
    SHOWN,
    evaluation_history,
    render,
    visible,
    write_samples_page,
)

CRITERIA = {"correctness": 0.5, "code_quality": 0.25}


def line(step, task, mark, sample="pass", **more):
    return {
        "step": step, "phase": "eval", "task": task, "language": "python", "prompt": f"task {task}",
        "sample": sample,
        "tokens": 3, "truncated": False, "status": "unscored" if mark is None else "scored",
        "mark": mark,
        "criteria": CRITERIA, "source": mark and "teacher", "reasons": [], "error": None,
    } | more  # fmt: skip


class Read(HTMLParser):
    """The tags of a page with their attributes, and the texts of its <pre>."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.codes, self.texts, self._inside = (
            set(),
            set(),
            [],
            [],
            False,
        )
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._inside = tag == "pre"
        if self._inside:
            self.codes.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        self.texts.append(data)
        if self._inside:
            self.codes[-1] += data


def test_best_and_worst_are_one_a_task_and_have_a_mark():
    marks = {0: [0.9, 0.8], 1: [0.7, None], 2: [0.1, 0.95], 3: [0.2], 4: [0.3], 5: [0.4], 6: [None]}
    [page] = evaluation_history(
        [line(0, task, mark) for task, row in marks.items() for mark in row]
    )
    assert SHOWN == 4
    assert [(shown["task"], shown["mark"]) for shown in page.best] == [
        (2, 0.95),
        (0, 0.9),
        (1, 0.7),
        (5, 0.4),
    ]
    assert [(shown["task"], shown["mark"]) for shown in page.worst] == [
        (2, 0.1),
        (3, 0.2),
        (4, 0.3),
        (5, 0.4),
    ]
    assert (page.scored, page.unscored, page.changed) == (8, 2, [])
    assert page.mean == pytest.approx((0.85 + 0.7 + 0.525 + 0.2 + 0.3 + 0.4) / 6)


def test_the_most_changed_are_pairs_of_the_same_task_and_place():
    first = [
        line(0, 0, 0.5, "a0"),
        line(0, 0, 0.9, "a1"),
        line(0, 1, None, "b0"),
        line(0, 2, 0.4, "c0"),
    ]
    second = [
        line(5, 0, 0.6, "A0"),
        line(5, 0, 0.5, "A1"),
        line(5, 1, 0.9, "B0"),
        line(5, 2, 0.4, "C0"),
    ]
    third = [
        line(9, 0, 0.6, "x"),
        line(9, 0, 0.7, "y"),
        line(9, 1, 0.6, "z"),
        line(9, 2, None, "u"),
    ]
    pages = evaluation_history([*first, *second, *third])
    # of task 0 the larger change only; b0 had no mark, c0 did not change
    assert [(pair.before["sample"], pair.after["sample"]) for pair in pages[1].changed] == [
        ("a1", "A1")
    ]
    assert pages[1].changed[0].change == pytest.approx(-0.4)
    assert [(pair.before["sample"], pair.after["sample"]) for pair in pages[2].changed] == [
        ("B0", "z"),
        ("A1", "y"),
    ]


HOSTILE = [
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "</textarea><!-- --><![CDATA[ \" ' ` &lt; &amp;",
    "\n\n  first lines kept {{ 7 * 7 }} {% raw %}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_ours_is_text_wherever_it_stands(text):
    plain = render(evaluation_history([line(0, 0, 0.5), line(1, 0, 0.6)]), "run", "a teacher")
    hostile = [
        line(step, 0, mark, text, prompt=text, language=text, reasons=[text], criteria={text: 0.5})
        for step, mark in ((0, 0.5), (1, 0.6))
    ]
    page = render(evaluation_history(hostile), text, text)
    read = Read(page)
    assert read.tags == Read(plain).tags
    assert read.attributes == Read(plain).attributes
    assert (
        read.codes == ["\n" + text] * 6
    )  # two evaluations: best, worst; a pair. A first newline is no part of <pre>
    assert sum(text.strip() in part for part in read.texts) >= 6 + 5 + 1


def test_the_page_asks_nobody_for_anything_and_runs_nothing():
    page = render(evaluation_history([line(0, 0, 0.5)]), "run", "a teacher")
    assert "default-src 'none'" in page
    assert not {"script", "link", "img", "iframe", "a"} & Read(page).tags
    assert not {"src", "href", "onclick", "onerror"} & Read(page).attributes
    assert "width=device-width" in page
    assert "color-scheme: light dark" in page


def test_what_cannot_be_seen_or_reorders_what_is_shows_as_an_escape():
    assert visible("a\r\n\tb") == "a\n\tb"
    assert visible("x\u202ey\x00\x1b[2J\xa0\u2028z") == "x\\u202ey\\x00\\x1b[2J\\xa0\\u2028z"
    assert visible("naïve 数 ✓") == "naïve 数 ✓"


def test_it_is_made_of_the_evaluations_in_the_log_alone(tmp_path):
    lines = [
        line(0, 0, 0.5, "kept"),
        line(1, 0, 0.9, "trained on", phase="train"),
        line(2, 0, None, "lost"),
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    write_samples_page(tmp_path, "run", "static: a stub")
    page = (tmp_path / "samples.html").read_text()
    assert "kept" in page
    assert "trained on" not in page
    assert "lost" not in page  # without a mark it is neither good nor bad
    assert "static: a stub" in page
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
