"""`python -m tests.screenshots FOLDER [--states]`: pictures of the dashboard, of real services in
Chromium.

The services judge the demo's tasks through the emulator of the Messages API. The lines of a day
with twenty runs are made up beforehand. Writes the pictures of the documents: page-light.png (a
desktop), page-dark-phone.png (a phone) and sample-light.png (one sample). With `--states` instead
pictures of each state of the pages, on a desktop and a phone, as much as is seen at first and
whole.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from markbook.cli import main as markbook
from markbook.client import ScoringClient
from markbook.scoring.app import unix_ms
from tests import page_states
from tests.chromium import Chromium
from tests.emulator.server import Emulator, Settings
from tests.processes import ServiceProcess
from tests.seeding import run_name

PICTURES = {
    "page-light.png": (1280, 1200, False, ""),
    "page-dark-phone.png": (390, 980, True, ""),
    "sample-light.png": (1280, 900, False, "/samples?sort=lowest&source=teacher"),
}
"""Name -> width and height in CSS pixels, whether the theme is dark, and the page; of a list its
first sample.
"""
LOOKS = {"desk": (1280, 900, False), "phone-dark": (390, 844, True), "desk-dark": (1280, 900, True)}
BUDGETS = {"MARKBOOK_BUDGETS__TOTAL__USD": "250", "MARKBOOK_BUDGETS__PER_RUN__USD": "60"}
NEARLY_SPENT = {"MARKBOOK_BUDGETS__TOTAL__USD": "95", "MARKBOOK_BUDGETS__PER_RUN__USD": "99"}
"""The total of a filled store is $90."""


class Photographer:
    def __init__(self, browser: Chromium, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def document(self, service: ServiceProcess, name: str) -> None:
        width, height, dark, path = PICTURES[name]
        self._look(width, height, dark=dark)
        self._browser.go(f"{service.url}{path}")
        if path:
            self._browser.click("ol.marks a")
        self._browser.screenshot(self._folder / name, whole=False)

    def state(self, name: str, url: str) -> None:
        for look, (width, height, dark) in LOOKS.items():
            self._look(width, height, dark=dark)
            self._browser.go(url)
            self._browser.screenshot(self._folder / f"{name}-{look}.png", whole=False)
            self._browser.screenshot(self._folder / f"{name}-{look}-whole.png")

    def first_of(self, name: str, url: str) -> None:
        """The first sample of a list."""
        self._browser.go(url)
        self._browser.click("ol.marks a")
        self.state(name, self._browser.evaluate("location.href"))

    def sign_in(self, service: ServiceProcess, secret: str) -> None:
        self.state("login", f"{service.url}/login")
        self._browser.fill("[name=key]", secret)
        self._browser.click("form button")

    def _look(self, width: int, height: int, *, dark: bool) -> None:
        self._browser.look(width, height, dark=dark)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._browser.send(
            "Emulation.setDeviceMetricsOverride", **size
        )  # a pixel each: a quarter of the bytes


@contextmanager
def new_store() -> Iterator[str]:
    with TemporaryDirectory() as scratch:
        yield f"sqlite:///{scratch}/markbook.db"


def take_documents(photographer: Photographer) -> None:
    with new_store() as url, Emulator(Settings()) as emulator:
        page_states.fill_day(url, unix_ms())
        with ServiceProcess(url, **page_states.paid_teacher(emulator), **BUDGETS) as service:
            page_states.score_tasks(service, run_name(0))
            for name in PICTURES:
                photographer.document(service, name)


def take_states(photographer: Photographer) -> None:
    with new_store() as url, ServiceProcess(url) as service:
        with ScoringClient(service.url) as client:  # it waits until connections are accepted
            client.stats()
        photographer.state("empty", service.url)
        page_states.score(service, "mine", *page_states.CODES)
        photographer.state("stand-in", service.url)
    with new_store() as url, Emulator(Settings()) as emulator:
        page_states.fill_minutes(url, unix_ms())
        with ServiceProcess(url, **page_states.paid_teacher(emulator)) as service:
            page_states.score_tasks(service, run_name(0), tasks=4)
            photographer.state("first-minutes", service.url)
    _take_filled(photographer)
    _take_keys(photographer)


def _take_filled(photographer: Photographer) -> None:
    with new_store() as url, Emulator(Settings()) as emulator:
        page_states.fill_day(url, unix_ms())
        teacher = page_states.paid_teacher(emulator)
        with ServiceProcess(url, **teacher, **BUDGETS) as service:
            page_states.score_tasks(service, run_name(0))
            page_states.score_tasks(service, run_name(1), better=True)
            photographer.state("several", service.url)
            photographer.state("run", f"{service.url}/?run={run_name(0)}")
            photographer.state("compared", f"{service.url}/?run={run_name(0)}&vs={run_name(1)}")
            photographer.state("samples", f"{service.url}/samples")
            for source in ("teacher", "tests", "heuristic"):
                photographer.first_of(
                    f"mark-{source}", f"{service.url}/samples?sort=lowest&source={source}"
                )
        with ServiceProcess(url, **teacher, **NEARLY_SPENT) as service:
            page_states.score(service, run_name(0), page_states.RIGHT)
            photographer.state("budget", service.url)
            page_states.bring_down(emulator, service)
            photographer.state("outage", service.url)


def _take_keys(photographer: Photographer) -> None:
    with new_store() as url, ServiceProcess(url) as service:
        add_key(url, "ann", "--runs", "team-a/*", "--usd", "5", "--per", "month")
        add_key(url, "prometheus", "--tokens", "0", "--days", "90")
        photographer.sign_in(service, add_key(url, "owner", "--admin"))
        photographer.state("keys", f"{service.url}/keys")


def add_key(url: str, name: str, *options: str) -> str:
    """The secret of a new key."""
    printed = io.StringIO()
    with patch.dict(os.environ, MARKBOOK_DATABASE_URL=url), redirect_stdout(printed):
        assert markbook(["keys", "add", name, *options]) == 0
    return printed.getvalue().strip()


def main(folder: Path, *, states: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as profile, Chromium(Path(profile)) as browser:
        photographer = Photographer(browser, folder)
        if states:
            take_states(photographer)
        else:
            take_documents(photographer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take pictures of the dashboard.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--states", action="store_true", help="of each state, not those of the documents"
    )
    given = parser.parse_args()
    main(given.folder, states=given.states)
