"""axe-core, which finds what keeps people from reading a page: run on what a browser shows.

The script is that in the wheel of `axe-playwright-python`, of which nothing else is used: `pip
install --no-deps` it.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tests.chromium import Chromium


def find_axe() -> Path | None:
    try:
        files = distribution("axe-playwright-python").files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(each.locate())) for each in files if each.name == "axe.min.js"), None)


AXE = find_axe()


def violations(browser: Chromium) -> list[str]:
    """Each rule that is violated, with the first element that does. The page's policy lets no
    script run; the browser's own console may, and axe changes nothing.
    """
    assert AXE is not None
    browser.evaluate(f"{AXE.read_text()}\n;0")
    found: list[dict[str, Any]] = json.loads(
        browser.evaluate("axe.run(document).then(found => JSON.stringify(found.violations))")
    )
    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found]
