"""axe-core on every page in every state, light and dark, on a phone and a desk: it finds nothing.

The states are listed in the order in which one service goes through them. Everything that can be
opened is open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from markbook.cli import main
from markbook.scoring.app import unix_ms
from markbook.scoring.cli import judge_page
from markbook.scoring.evaluation.bootstrap import Figure
from markbook.scoring.evaluation.comparison import Choice, Comparison
from markbook.scoring.judging.report import Report
from markbook.trainer.monitoring.samples_report import write_samples_page
from markbook.trainer.run_dir import SAMPLES
from tests import page_states
from tests.axe import AXE, violations
from tests.chromium import BINARY, Chromium
from tests.emulator.server import Emulator
from tests.integration.test_page_browser import DESK, PHONE, check_fits
from tests.processes import ServiceProcess
from tests.seeding import run_name
from tests.unit.scoring.cli.test_judge_page import FILE, SETTINGS, teacher
from tests.unit.trainer.monitoring.test_samples_page import line

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BINARY is None, reason="no chromium here: apt-get install chromium"),
    pytest.mark.skipif(
        AXE is None, reason="no axe-core here: pip install --no-deps axe-playwright-python"
    ),
]

NO_SAMPLE = f"/samples/{'00' * 30}"
EMPTY = (
    "/",
    "/?run=nothing",
    "/?since=week",
    "/?q=nowhere",
    "/samples",
    "/?run=a&vs=b",
    "/?vs=b",
    NO_SAMPLE,
)
LARGEST = run_name(0)
FILLED = (  # without reloading, which would come between on a busy machine
    "/?refresh=off",
    "/?since=hour&refresh=off",
    "/?since=all&refresh=off",
    f"/?run={LARGEST}&refresh=off",
    f"/?run={LARGEST}/eval&refresh=off",
    "/?q=fold",
    "/?q=nowhere",
    f"/?run={LARGEST}&vs={run_name(1)}",
    f"/?run={LARGEST}&vs={LARGEST}",
    "/samples",
    "/samples?by=none&sort=lowest",
    "/samples?source=heuristic&reason=stub",
    "/samples?source=tests&low=0.1&high=0.2&language=python",
    f"/samples?run={LARGEST}",
    "/samples?run=nothing",
)
OPEN_ALL = """
document.querySelectorAll('details').forEach(each => {
  each.open = !each.matches('.as-table') || each === document.querySelector('.as-table');
})
"""
"""Of the tables below charts, which are alike and long, one."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def look(
    browser: Chromium, url: str | None = None, prepare: Callable[[], None] | None = None
) -> list[str]:
    """What axe finds on a page; None: on the one that is shown.

    `prepare` is called when it has loaded.
    """
    found = []
    for width in (PHONE, DESK):
        for dark in (False, True):
            browser.look(width, dark=dark)
            if url is not None:
                browser.go(url)
            if prepare is not None:
                prepare()
            browser.evaluate(OPEN_ALL)
            check_fits(browser)
            here = browser.evaluate("location.pathname + location.search")
            found += [
                f"{here} {width} {'dark' if dark else 'light'} {each}"
                for each in violations(browser)
            ]
    return found


def test_with_the_stand_in_empty_and_after_first_samples(browser, sqlite_url):
    found = []
    with ServiceProcess(sqlite_url) as service:
        for path in EMPTY:
            found += look(browser, service.url + path)
        page_states.score(service, "first", *page_states.CODES)
        for path in ("/?refresh=off", "/samples", "/?run=first&vs=first"):
            found += look(browser, service.url + path)
    assert found == []


def test_a_day_of_many_runs_a_budget_nearly_spent_and_an_outage(browser, sqlite_url):
    found = []
    page_states.fill_day(sqlite_url, unix_ms())
    # the accounts of fill_ledger are at $90 and 400 million tokens
    settings = {
        "MARKBOOK_BUDGETS__TOTAL__USD": "95",
        "MARKBOOK_BUDGETS__PER_RUN__TOKENS": "450000000",
        "MARKBOOK_RLAIF__MIN_TEACHER_AGREEMENT": "0.9",
        "MARKBOOK_RLAIF__MIN_AGREEMENT_SAMPLES": "1",
    }
    with (
        Emulator() as emulator,
        ServiceProcess(sqlite_url, **page_states.paid_teacher(emulator), **settings) as service,
    ):
        for run in (LARGEST, run_name(1)):
            page_states.score_tasks(service, run, tasks=4)
            page_states.score(service, run, *page_states.CODES)
        for path in FILLED:
            found += look(browser, service.url + path)
        for source in ("teacher", "tests", "heuristic"):
            browser.go(f"{service.url}/samples?source={source}")
            browser.click("ol.marks a")
            found += look(browser, browser.evaluate("location.href"))
        found += explained(browser, service)
        page_states.bring_down(emulator, service)
        browser.go(service.url)
        banners = browser.evaluate(
            "[...document.querySelectorAll('.banner')].map(e => e.textContent).join()"
        )
        assert "The teacher is down" in banners
        assert "is spent to 90 %" in banners
        for path in ("/?refresh=off", "/?run=outage&refresh=off", "/samples"):
            found += look(browser, service.url + path)
        found += unexplained(browser, service)
    assert found == []


def explained(browser: Chromium, service: ServiceProcess) -> list[str]:
    browser.go(f"{service.url}/samples?source=tests")
    browser.click("ol.marks a")
    browser.click("form.explain button")
    assert browser.evaluate("location.hash") == "#why"
    return look(browser, browser.evaluate("location.href").partition("#")[0])


def unexplained(browser: Chromium, service: ServiceProcess) -> list[str]:
    """The teacher does not answer: the page says why there is no explanation."""
    browser.go(f"{service.url}/samples?source=heuristic")
    browser.click("ol.marks a")
    browser.click("form.explain button")
    assert browser.evaluate("document.querySelector('p.wrong').textContent").startswith(
        "There is no"
    )
    return look(browser)


def test_keys_and_signing_in(browser, sqlite_url, monkeypatch, capsys):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", sqlite_url)
    keys = []
    for name, *more in (
        ("root", "--admin"),
        ("ann", "--runs", "team-a/*", "--usd", "5"),
        ("old", "--days", "0.00001"),
    ):
        assert main(["keys", "add", name, *more]) == 0
        keys.append(capsys.readouterr().out.strip())
    found = []
    with ServiceProcess(sqlite_url) as service:
        browser.send("Network.clearBrowserCookies")
        found += look(browser, service.url)  # the login
        browser.fill("[name=key]", "mb_wrong")
        browser.click("form button")
        found += look(browser)
        browser.go(service.url)
        browser.fill("[name=key]", keys[0])
        browser.click("form button")
        page_states.score(service, "team-a/1", *page_states.CODES, key=keys[1])
        for path in ("/?refresh=off", "/keys", "/samples"):
            found += look(browser, service.url + path)

        browser.go(f"{service.url}/keys")
        browser.fill("#add-name", "new")
        browser.click("form.key-form:not(details form) > button")
        found += look(browser)  # the secret
        browser.go(f"{service.url}/keys")
        browser.fill("#add-name", "new")
        browser.click("form.key-form:not(details form) > button")
        found += look(browser)  # the name is taken
        browser.go(f"{service.url}/keys")
        browser.evaluate(
            "document.querySelectorAll('[name=confirmed]').forEach(each => each.click())"
        )
        browser.click('button[aria-label="Revoke new"]')
        found += look(browser)
        browser.send("Network.clearBrowserCookies")
    assert found == []


def test_the_pages_that_are_files(browser, tmp_path: Path):
    tests = {
        "passed": 1,
        "total": 2,
        "not_run": 0,
        "first_failure": "assert f(1) == 2: expected 2, got 1",
    }
    lines = [
        line(step, task, mark, "def f(a):\n    return a\n" * 40, tests=tests)
        for step, marks in ((0, (0.2, 0.4)), (5, (0.8, None)))
        for task, mark in enumerate(marks)
    ]
    (tmp_path / SAMPLES).write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    write_samples_page(tmp_path, "demo", "claude-haiku-5-5")
    teachers = [teacher("a"), teacher("b", unscored={"deadline": 2})]
    compared = [Comparison("a", "b", 3, Figure(0.1, -0.05, 0.25), Figure(-0.2))]
    report = Report(teachers, compared, Choice("a", ("a", "b"), "b"))
    (tmp_path / "judge.html").write_text(judge_page.render(FILE, report, SETTINGS))
    found = []
    for name in ("samples.html", "judge.html"):
        found += look(browser, (tmp_path / name).as_uri())
    assert found == []
