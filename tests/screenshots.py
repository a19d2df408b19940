"""`python -m tests.screenshots FOLDER`: the dashboard's pictures for the documents, of a real service in Chromium.

The service judges the demo's tasks through the emulator of the Messages API. The lines of a day with twenty runs are
made up beforehand. Writes page-light.png (a desktop) and page-dark-phone.png (a phone).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from markbook.client import ScoringClient
from markbook.scoring.app import unix_ms
from tests.chromium import Chromium
from tests.emulator.server import Emulator, Settings
from tests.processes import ROOT, ServiceProcess
from tests.seeding import DAY_MINUTES, fill_ledger, run_name

PICTURES = {"page-light.png": (1280, 1200, False), "page-dark-phone.png": (390, 980, True)}
"""Name -> width and height in CSS pixels, and whether the theme is dark."""
TASKS = ROOT / "demo" / "tasks" / "train.jsonl"


def score_tasks(client: ScoringClient) -> None:
    """Some solutions and faulty ones, so that the list of marks is not empty."""
    for line in TASKS.read_text().splitlines()[:12]:
        task = json.loads(line)
        sample = {"prompt": task["prompt"], "language": task["language"]}
        codes = [task["solution"], f"# another way\n{task['solution']}", f"{task['solution']}\n\nprint((", ""]
        client.score_many([{**sample, "code": code} for code in codes], run=run_name(0))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, Emulator(Settings()) as emulator:
        url = f"sqlite:///{scratch}/markbook.db"
        fill_ledger(url, runs=20, requests=6, calls=4, minutes=DAY_MINUTES, until_ms=unix_ms())
        settings = {"MARKBOOK_TEACHER": "anthropic", "MARKBOOK_TEACHER__BASE_URL": emulator.url}
        budgets = {"MARKBOOK_BUDGETS__TOTAL__USD": "250", "MARKBOOK_BUDGETS__PER_RUN__USD": "60"}
        with ServiceProcess(url, ANTHROPIC_API_KEY="any", **settings, **budgets) as service:
            with ScoringClient(service.url) as client:
                score_tasks(client)
            with Chromium(Path(scratch) / "profile") as browser:
                for name, (width, height, dark) in PICTURES.items():
                    browser.look(width, height, dark=dark)
                    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                    browser.send("Emulation.setDeviceMetricsOverride", **size)  # a pixel each: a quarter of the bytes
                    browser.go(service.url)
                    browser.screenshot(folder / name, whole=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
