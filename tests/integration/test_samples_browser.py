"""The pages of samples and of two runs in a real Chromium: they fit, axe finds nothing, and
100,000 are fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from markbook.client import RetryPolicy, ScoringClient
from markbook.contract import Sample, ScoreRequest
from markbook.scoring.app import unix_ms
from tests.axe import AXE, violations
from tests.chromium import BINARY, Chromium
from tests.emulator.server import Emulator
from tests.integration.test_page_browser import DESK, PHONE, check_fits
from tests.processes import ServiceProcess
from tests.sample_seeding import fill_samples
from tests.seeding import fill_ledger

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BINARY is None, reason="no chromium here: apt-get install chromium"),
]
needs_axe = pytest.mark.skipif(
    AXE is None, reason="no axe-core here: pip install --no-deps axe-playwright-python"
)

TASK = "Write fold(values) that adds up the numbers in a list.\n\nAn empty list gives 0."
TESTS = ["assert fold([1, 2]) == 3", "assert fold([]) == 0"]
RIGHT = 'def fold(values):\n    """The sum."""\n    return sum(values)\n'
CODES = (
    RIGHT,
    f"{RIGHT}\n# another",
    RIGHT.replace("sum(values)", "sum(values) + 1"),
    "def fold(values:\n",
    "",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def score(service: ServiceProcess, run: str, *codes: str) -> None:
    samples = [Sample(prompt=TASK, language="python", code=code, tests=TESTS) for code in codes]
    with ScoringClient(service.url, timeout_s=60, retry_policy=RetryPolicy(0.0)) as client:
        client.score_request(ScoreRequest(run=run, samples=samples))


def look_at_all(browser: Chromium, url: str, folder: Path, name: str) -> list[str]:
    """A picture of each size and theme; returns what axe finds in any of them."""
    found = []
    for width in (PHONE, DESK):
        for dark in (False, True):
            browser.look(width, dark=dark)
            browser.go(url)
            check_fits(browser)
            browser.screenshot(folder / f"{name}-{width}-{'dark' if dark else 'light'}.png")
            found += violations(browser)
    return found


@needs_axe
def test_the_pages_fit_every_screen_and_axe_finds_nothing(
    browser, emulator: Emulator, sqlite_url, tmp_path
):
    settings = {
        "MARKBOOK_TEACHER": "anthropic",
        "MARKBOOK_TEACHER__BASE_URL": emulator.url,
        "MARKBOOK_STORE__KEEP_EXCHANGES": "20",
    }
    with ServiceProcess(sqlite_url, ANTHROPIC_API_KEY="any", **settings) as service:
        assert look_at_all(browser, f"{service.url}/samples", tmp_path, "empty") == []
        score(service, "first", *CODES)
        score(service, "second", *(f"{code}\n\n" + "# more\n" for code in CODES))
        pages = {
            "samples": "/samples",
            "flat": "/samples?by=none&sort=lowest",
            "compared": "/?run=first&vs=second",
        }
        for name, path in pages.items():
            assert look_at_all(browser, f"{service.url}{path}", tmp_path, name) == []
        for source in ("teacher", "tests", "heuristic"):
            browser.go(f"{service.url}/samples?source={source}")
            browser.click("ol.marks a")
            url = browser.evaluate("location.href")
            assert look_at_all(browser, url, tmp_path, f"one-{source}") == []
        browser.go(url)
        browser.click("form.explain button")
        assert browser.evaluate("location.hash") == "#why"
        assert "clear names" in browser.evaluate("document.querySelector('article').textContent")
        explained = browser.evaluate("location.href").partition("#")[
            0
        ]  # a fragment alone would load nothing
        assert look_at_all(browser, explained, tmp_path, "explained") == []
        browser.go(f"{service.url}/samples?source=teacher")
        browser.click("ol.marks a")
        browser.evaluate("document.querySelector('details.exchange').open = true")
        assert violations(browser) == []
        assert look_at_all(browser, service.url, tmp_path, "dashboard") == []


def test_a_hundred_thousand_samples(browser, database_url, tmp_path, capsys):
    now_ms = unix_ms()
    fill_ledger(database_url, runs=50, requests=2, calls=2, minutes=600, until_ms=now_ms)
    fill_samples(database_url, count=100_000, tasks=500, runs=50, until_ms=now_ms)
    kind = database_url.partition(":")[0]
    with (
        ServiceProcess(database_url, MARKBOOK_STORE__KEEP_REJECTS="100000") as service,
        capsys.disabled(),
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        client.get("/samples").raise_for_status()
        browser.go(f"{service.url}/samples?by=none&sort=lowest&source=teacher")
        browser.click("ol.marks a")
        one = browser.evaluate("location.pathname + location.search")
        for path in (
            *(
                "/",
                "/samples",
                "/samples?sort=lowest",
                "/samples?by=none",
                "/samples?by=none&sort=highest",
            ),
            *(
                "/samples?source=heuristic&reason=stub",
                "/samples?run=team-a/student-000",
                "/samples?low=0.99&by=none",
            ),
            *(one, "/?run=team-a/student-000&vs=team-b/student-001"),
        ):
            times = []
            for _ in range(3):
                begun = time.perf_counter()
                size = len(client.get(path).raise_for_status().content)
                times.append(time.perf_counter() - begun)
            print(
                f"\n{kind:<10} {path[:60]:<62} {times[0]:.3f} s, again {min(times[1:]):.3f} s, "
                f"{size:,} bytes",
                end="",
            )
        for width in (PHONE, DESK):
            browser.look(width)
            browser.go(f"{service.url}/samples")
            check_fits(browser)
            browser.screenshot(tmp_path / f"many-{kind}-{width}.png")
