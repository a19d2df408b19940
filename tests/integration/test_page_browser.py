"""The page in a real Chromium: it fits a phone, asks nobody else for anything, runs nothing that
students write.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from markbook.cli import main
from markbook.client import RetryPolicy, ScoringClient
from markbook.contract import Sample, ScoreRequest
from markbook.scoring.app import unix_ms
from tests.chromium import BINARY, Chromium
from tests.processes import ServiceProcess
from tests.seeding import DAY_MINUTES, fill_ledger

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BINARY is None, reason="no chromium here: apt-get install chromium"),
]

HOSTILE = """</pre></code><script>window.hacked = 1; alert(1)</script>
<img src="http://hostile.invalid/x.png" onerror="window.hacked = 2"><svg onload="window.hacked = 3"></svg>
<a href="javascript:window.hacked = 4">press</a><style>body { display: none }</style>
<iframe src="javascript:parent.hacked = 5"></iframe>{{ 7 * 7 }}<meta http-equiv="refresh" content="0; http://hostile.invalid/">"""
PHONE, DESK = 390, 1280
SMALL_TARGETS = """
[...document.querySelectorAll('a, button, input:not([type=hidden]), select, summary')]
  .filter(e => e.getClientRects().length && !e.closest('p:not(.pager), dd, .banner, pre'))
  .map(e => [e.textContent.trim() || e.name, e.getBoundingClientRect()])
  .filter(([_, box]) => box.width < 24 || box.height < 24)
  .map(([name, box]) => `${name}: ${box.width} x ${box.height}`)
"""
"""WCAG 2.5.8, target size: what can be pressed and is no link within a sentence."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def ask(service: ServiceProcess, *codes: str, run: str = "demo", key: str | None = None) -> None:
    task = (
        "Write fold(values) that adds up the numbers in a list.\n\nAn empty list gives 0. "
        + "Say what you do. " * 20
    )
    samples = [Sample(prompt=task, language="python", code=code) for code in codes]
    with ScoringClient(
        service.url, api_key=key, timeout_s=60, retry_policy=RetryPolicy(0.0)
    ) as client:
        client.score_request(ScoreRequest(run=run, samples=samples))


def code(number: int) -> str:
    return (
        f'def fold(values):\n    """Add up the numbers, {number}."""\n    return sum(values) + '
        f"{number}\n"
    )


def check_fits(browser: Chromium) -> None:
    """Nothing is wider than the screen, and no chart is too small to be read."""
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "scrolls to the side"
    )
    heights = browser.evaluate(
        "[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height)"
    )
    assert all(height >= 9 for height in heights)
    assert browser.evaluate(SMALL_TARGETS) == []


def look_at_all(browser: Chromium, url: str, folder: Path, name: str) -> None:
    for width in (PHONE, DESK):
        for dark in (False, True):
            browser.look(width, dark=dark)
            browser.go(url)
            check_fits(browser)
            browser.screenshot(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    ink, paper = browser.evaluate(
        "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
    )
    assert ink != paper


@pytest.fixture
def quiet(browser: Chromium) -> Iterator[Chromium]:
    """The browser, which afterwards must have complained of nothing and asked nobody else."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.send("Network.clearBrowserCookies")
    yield browser
    assert browser.complaints == []
    assert {
        url.partition("://")[2].partition(":")[0]
        for url in browser.requests
        if not url.startswith("data:")
    } == {"127.0.0.1"}


def test_without_data_with_one_run_and_with_a_mark_open(quiet, sqlite_url, tmp_path):
    with ServiceProcess(sqlite_url) as service:
        look_at_all(quiet, service.url, tmp_path, "empty")
        ask(service, *map(code, range(12)), "def fold(values:\n", "")
        ask(service, *map(code, range(8, 14)))
        look_at_all(quiet, service.url, tmp_path, "one")
        quiet.click("ol.marks a")
        assert quiet.evaluate(
            "document.querySelector('.opened pre.code').textContent.includes('return sum(values)')"
        )
        for width in (PHONE, DESK):
            quiet.look(width)
            check_fits(quiet)
            quiet.screenshot(tmp_path / f"mark-{width}.png")
        quiet.go(service.url)
        quiet.fill("[name=q]", "numbers, 7")
        quiet.click("[role=search] button")
        assert quiet.evaluate("document.querySelectorAll('ol.marks li').length") == 1


def test_a_hostile_sample_is_shown_and_does_nothing(quiet, sqlite_url, tmp_path):
    with ServiceProcess(sqlite_url) as service:
        ask(service, f"x = '''\n{HOSTILE}\n'''\n" + code(1))
        quiet.look(DESK)
        quiet.go(service.url)
        quiet.click("ol.marks a")
        assert HOSTILE in quiet.evaluate("document.querySelector('.opened pre.code').textContent")
        quiet.screenshot(tmp_path / "hostile.png")
        quiet.go(f"{service.url}/?q=hacked")
        assert "window.hacked" in quiet.evaluate("document.querySelector('.snippet').textContent")
        assert (
            quiet.evaluate(
                "document.querySelectorAll('script, img, iframe, [onerror], "
                "[href^=javascript]').length"
            )
            == 0
        )
        assert quiet.evaluate("typeof window.hacked") == "undefined"


def test_a_script_would_not_run_even_if_it_stood_in_the_page(browser, sqlite_url):
    with ServiceProcess(sqlite_url) as service:
        browser.look(DESK)
        browser.go(service.url)
        browser.complaints.clear()
        browser.evaluate(
            "{const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; "
            "document.body.append(s);document.body.insertAdjacentHTML('beforeend', '<img src=x "
            'onerror="window.hacked = 2">\' + \'<iframe src="/stats"></iframe>\')}'
        )
        assert browser.evaluate("typeof window.hacked") == "undefined"
        assert any("Content Security Policy" in each for each in browser.complaints)


def test_signing_in_with_a_key_and_out_again(quiet, sqlite_url, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", sqlite_url)
    assert main(["keys", "add", "ann", "--runs", "mine/*", "--tokens", "5000"]) == 0
    key = capsys.readouterr().out.strip()
    with ServiceProcess(sqlite_url) as service:
        ask(service, *map(code, range(3)), run="mine/1", key=key)
        quiet.look(PHONE)
        quiet.go(service.url)
        assert quiet.evaluate("location.pathname") == "/login"
        check_fits(quiet)
        quiet.screenshot(tmp_path / "login.png")
        quiet.fill("[name=key]", key)
        quiet.click("form button")
        assert quiet.evaluate("location.pathname") == "/"
        assert "mine/1" in quiet.evaluate("document.querySelector('.runs').textContent")
        assert quiet.evaluate("document.cookie") == ""  # no script can read it
        check_fits(quiet)
        quiet.screenshot(tmp_path / "signed-in.png")
        quiet.click(".top form button")
        assert quiet.evaluate("location.pathname") == "/login"
        quiet.go(service.url)
        assert quiet.evaluate("location.pathname") == "/login"


def test_fifty_runs_and_a_million_lines(quiet, sqlite_url, postgres_url, tmp_path, capsys):
    """On both databases in one test: they are given the same lines, which take most of the time
    to draw.
    """
    urls, days = (sqlite_url, postgres_url), 7
    lines = fill_ledger(
        *urls, runs=50, requests=60, calls=40, minutes=days * DAY_MINUTES, until_ms=unix_ms()
    )
    assert lines >= 1_000_000
    budgets = {
        "MARKBOOK_BUDGETS__TOTAL__TOKENS": "500000000",
        "MARKBOOK_BUDGETS__PER_RUN__TOKENS": "250000000",
    }
    for database_url in urls:
        kind = database_url.partition(":")[0]
        with ServiceProcess(database_url, **budgets) as service:
            for start in range(0, 2400, 120):
                ask(service, *map(code, range(start, start + 120)), run="team-a/student-000")
            with capsys.disabled():
                print_times(service, kind)
            look_at_all(quiet, service.url, tmp_path, f"fifty-{kind}")
            look_at_all(quiet, f"{service.url}/?since=week", tmp_path, f"week-{kind}")


def print_times(service: ServiceProcess, kind: str) -> None:
    queries = (
        "/",
        "/?since=hour",
        "/?since=week",
        "/?since=all",
        "/?run=team-a/student-000",
        "/?q=nowhere",
    )
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for query in queries:
            times = []
            for _ in range(4):
                begun = time.perf_counter()
                size = len(client.get(query).raise_for_status().content)
                times.append(time.perf_counter() - begun)
            first, again = times[0], min(times[1:])
            print(
                f"\n{kind:<10} {query:<32} {first:.3f} s, again {again:.3f} s, {size:,} bytes",
                end="",
            )
