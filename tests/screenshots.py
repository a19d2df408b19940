"""`python -m tests.screenshots FOLDER`: the dashboard's pictures for the documents, of a real service in Chromium.

The service judges the demo's tasks through the emulator of the Messages API. The lines of a day with twenty runs are
made up beforehand. Writes page-light.png (a desktop), page-dark-phone.png (a phone) and sample-light.png (one sample).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from markbook.client import ScoringClient
from markbook.contract import MARK, PASS_AT_1
from markbook.scoring.app import unix_ms
from markbook.scoring.store import Store
from markbook.scoring.store.rollups import MINUTE_MS
from tests.chromium import Chromium
from tests.emulator.server import Emulator, Settings
from tests.processes import ROOT, ServiceProcess
from tests.seeding import DAY_MINUTES, fill_ledger, run_name

PICTURES = {
    "page-light.png": (1280, 1200, False, ""),
    "page-dark-phone.png": (390, 980, True, ""),
    "sample-light.png": (1280, 900, False, "/samples?sort=lowest&source=teacher"),
}
"""Name -> width and height in CSS pixels, whether the theme is dark, and the page; of a list its first sample."""
TASKS = ROOT / "demo" / "tasks" / "train.jsonl"


def score_tasks(client: ScoringClient) -> None:
    """Some solutions and faulty ones, so that the list of marks is not empty."""
    for line in TASKS.read_text().splitlines()[:12]:
        task = json.loads(line)
        sample = {"prompt": task["prompt"], "language": task["language"]}
        codes = [task["solution"], f"# another way\n{task['solution']}", f"{task['solution']}\n\nprint((", ""]
        client.score_many([{**sample, "code": code} for code in codes], run=run_name(0))


async def report_evaluations(url: str, until_ms: int) -> None:
    """Made up as well: every three hours, of the three largest runs."""
    store = Store(url, 60_000)
    for number in range(3):
        for step in range(0, 80, 10):
            mark = 0.42 + 0.0025 * step * (0.3 + 0.45 * number)
            passing = 2 * mark - 0.6
            metrics = {MARK: (mark, mark - 0.05, mark + 0.05), PASS_AT_1: (passing, passing - 0.09, passing + 0.09)}
            at_ms = until_ms - (DAY_MINUTES - 18 * step - 20) * MINUTE_MS
            await store.run_metrics.add(run_name(number), step, metrics, at_ms)
    await store.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, Emulator(Settings()) as emulator:
        url = f"sqlite:///{scratch}/markbook.db"
        now_ms = unix_ms()
        fill_ledger(url, runs=20, requests=6, calls=4, minutes=DAY_MINUTES, until_ms=now_ms)
        asyncio.run(report_evaluations(url, now_ms))
        settings = {"MARKBOOK_TEACHER": "anthropic", "MARKBOOK_TEACHER__BASE_URL": emulator.url}
        budgets = {"MARKBOOK_BUDGETS__TOTAL__USD": "250", "MARKBOOK_BUDGETS__PER_RUN__USD": "60"}
        with ServiceProcess(url, ANTHROPIC_API_KEY="any", **settings, **budgets) as service:
            with ScoringClient(service.url) as client:
                score_tasks(client)
            with Chromium(Path(scratch) / "profile") as browser:
                for name, (width, height, dark, path) in PICTURES.items():
                    browser.look(width, height, dark=dark)
                    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                    browser.send("Emulation.setDeviceMetricsOverride", **size)  # a pixel each: a quarter of the bytes
                    browser.go(f"{service.url}{path}")
                    if path:
                        browser.click("ol.marks a")
                    browser.screenshot(folder / name, whole=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    main(parser.parse_args().folder)
