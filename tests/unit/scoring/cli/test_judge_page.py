"""The page of `markbook judge`: intervals drawn to scale, names that are text, and no script."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from markbook.cli import main
from markbook.config.loading import parse_config
from markbook.scoring.cli.judge_page import BAR_WIDTH, MEANINGS, Bar, draw_interval, render
from markbook.scoring.cli.judge_table import ROWS
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Choice, Comparison
from markbook.scoring.judging.labelled import LabelledSample, Truth
from markbook.scoring.judging.report import LabelledFile, Report, TeacherReport
from tests.processes import ROOT

SAMPLE = LabelledSample(prompt="p", language="go", code="", passed=True)
FILE = LabelledFile(
    [SAMPLE, SAMPLE, SAMPLE], [Truth(1.0, True), Truth(0.0, False), Truth(0.0, False)], [0, 0, 1]
)
PAID = parse_config({"teacher": {"name": "anthropic", "max_group_size": 4}})
SETTINGS = {"file": "labelled.jsonl", "resamples": 1000, "seed": 0, "right_from": 0.5, "again": 0}


def teacher(name, **changes):
    figures = {key: Figure(0.8, 0.7, 0.9) for key in ROWS} | {
        "retest_deviation": Figure(None),
        "order_effect": Figure(-0.05, -0.1, 0.0),
    }
    figures |= {"usd_per_1000": Figure(2.0, 1.0, 4.0), "tokens_per_1000": Figure(None)}
    values = {
        "unscored": {},
        "unscored_repeats": {},
        "usd": 0.25,
        "cost_is_estimated": False,
        **changes,
    }
    return TeacherReport(
        name=name, config=PAID, profile="p", figures=figures, samples=[], by_source={}, **values
    )


class Read(HTMLParser):
    """Tags, attributes and the texts of table cells, row by row."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.rows, self._cell = set(), set(), [], False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("th", "td")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, start):
        return next(
            [" ".join(cell.split()) for cell in row]
            for row in self.rows
            if row and row[0].startswith(start)
        )


def test_an_interval_is_drawn_to_scale():
    assert BAR_WIDTH == 160
    assert draw_interval(Figure(0.8, 0.7, 0.9), 0.0, 1.0, 0.5) == Bar(128.0, 112.0, 144.0, 80.0)
    assert draw_interval(Figure(0.1, -0.05, 0.25), -1.0, 1.0, 0.0) == Bar(88.0, 76.0, 100.0, 80.0)
    assert draw_interval(Figure(2.0, 1.0, 4.0), 0.0, 4.0) == Bar(80.0, 40.0, 160.0, None)


@pytest.mark.parametrize(
    "figure", [Figure(None), Figure(0.5), Figure(0.5, 0.4, 1.01), Figure(-0.1, -0.2, 0.0)]
)
def test_nothing_is_drawn_without_an_interval_or_beyond_the_axis(figure):
    assert draw_interval(figure, 0.0, 1.0) is None


def test_every_figure_has_its_meaning():
    assert MEANINGS.keys() == ROWS.keys()


def test_the_page_has_all_figures_comparisons_and_settings():
    comparison = Comparison("a", "b", 3, Figure(0.1, -0.05, 0.25), Figure(-0.2))
    first = teacher("a", unscored={"deadline": 2})
    second = teacher("b", cost_is_estimated=True, usd=None)
    page = render(
        FILE, Report([first, second], [comparison], Choice("a", ("a", "b"), "b")), SETTINGS
    )
    read = Read(page)
    assert "3 samples of 2 tasks in labelled.jsonl: 1 right, 2 wrong" in page
    assert "best: a; indistinguishable from it: b; the cheapest of these: b" in page
    assert read.row("AUC")[1:] == ["0.800 [0.700, 0.900]"] * 2
    assert read.row("$ per 1,000")[1:] == ["2.00 [1.00, 4.00]", "~2.00 [1.00, 4.00]"]
    assert read.row("tokens")[1:] == ["-", "~-"]
    assert read.row("a − b") == [
        "a − b",
        "indistinguishable",
        "+0.100 [-0.050, +0.250]",
        "-0.200",
        "-",
        "3",
    ]
    assert read.row("score per later place")[1:] == ["-0.050 [-0.100, +0.000]"] * 2
    assert read.row("unscored: deadline")[1:] == ["2", "0"]
    assert read.row("paid now")[1:] == ["$0.2500", "price unknown"]
    assert read.row("samples per call")[1:] == ["4", "4"]
    assert not any(row and row[0].startswith("retest") for row in read.rows)
    # of the cells: an AUC from 0.7 to 0.9 around 0.8, with the mark of chance
    assert '<line class="interval" x1="112.0" x2="144.0" y1="7" y2="7"/>' in page
    assert '<line class="zero" x1="80.0" x2="80.0" y1="0" y2="14"/>' in page


def test_names_from_outside_are_text_and_nothing_is_a_script():
    hostile = "</script><script>alert(1)</script>\u202e<img src=x onerror=alert(1)>"
    report = Report(
        [teacher(hostile), teacher("b")], [Comparison(hostile, "b", 1, Figure(None))], None
    )
    page = render(FILE, report, {**SETTINGS, "file": hostile})
    read = Read(page)
    assert not read.tags & {"script", "img", "link", "iframe"}
    assert not {
        name
        for name in read.attributes
        if name.startswith("on") or name in ("style", "src", "href")
    }
    assert "\u202e" not in page
    assert "default-src 'none'" in page


def test_it_has_the_colours_and_the_type_of_the_page_of_samples():
    ours = ROOT / "services/markbook/scoring/cli/judge_page.jinja"
    theirs = ROOT / "trainer/markbook/trainer/monitoring/samples_report.jinja"
    style = [
        re.search(r":root \{.*?^body \{.*?\}$", path.read_text(), re.DOTALL | re.MULTILINE)
        for path in (ours, theirs)
    ]
    assert style[0][0] == style[1][0]


def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_paid_for(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "static.yaml").write_text("{}")
    for name, why in (
        ("none/page.html", "none is not a folder that can be written to"),
        (".", "it is a folder"),
    ):
        assert main(["judge", "none.jsonl", "--teacher", "static.yaml", "--html", name]) == 2
        assert capsys.readouterr().err == f"cannot write {name}: {why}\n"
