"""The page of API keys in a real Chromium: its forms work without a script, on a phone too."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from markbook.cli import main
from tests.chromium import BINARY, Chromium
from tests.integration.test_page_browser import PHONE, check_fits, look_at_all
from tests.processes import ServiceProcess

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BINARY is None, reason="no chromium here: apt-get install chromium"),
]
BODY = {
    "run": "mine/1",
    "samples": [
        {"prompt": "Write f(a).", "language": "python", "code": "def f(a):\n    return a + 1\n"}
    ],
}


@pytest.fixture
def quiet(tmp_path) -> Iterator[Chromium]:
    """A browser that must have complained of nothing in the end."""
    with Chromium(tmp_path / "profile") as browser:
        yield browser
        assert browser.complaints == []


def status(service: ServiceProcess, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{service.url}/score", json=BODY, headers=headers, timeout=60).status_code


def test_an_admin_adds_replaces_and_revokes_a_key(quiet, sqlite_url, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MARKBOOK_DATABASE_URL", sqlite_url)
    assert main(["keys", "add", "root", "--admin"]) == 0
    root = capsys.readouterr().out.strip()
    with ServiceProcess(sqlite_url) as service:
        quiet.look(PHONE)
        quiet.go(service.url)
        quiet.fill("[name=key]", root)
        quiet.click("form button")
        quiet.click('a[href="keys"]')
        assert quiet.evaluate("location.pathname") == "/keys"
        check_fits(quiet)

        quiet.fill("#add-name", "ann")
        quiet.fill("#add-runs", "mine/*")
        quiet.fill("#add-requests", "1")
        quiet.click("form.key-form:not(details form) > button")
        secret = quiet.evaluate("document.querySelector('.banner pre').textContent")
        assert [status(service, secret) for _ in range(2)] == [200, 429]
        check_fits(quiet)
        quiet.screenshot(tmp_path / "secret.png")

        quiet.go(f"{service.url}/keys")
        quiet.evaluate("document.querySelector('details:nth-of-type(2)').open = true")
        quiet.click('button[aria-label="Replace the secret of ann"]')
        second = quiet.evaluate("document.querySelector('.banner pre').textContent")
        assert second != secret
        assert status(service, secret) == 401

        quiet.go(f"{service.url}/keys")
        quiet.evaluate("document.querySelector('details:nth-of-type(2)').open = true")
        quiet.evaluate("document.querySelector('[name=confirmed]').click()")
        quiet.click('button[aria-label="Revoke ann"]')
        assert quiet.evaluate("document.querySelector('[role=status]').textContent").startswith(
            "ann is revoked"
        )
        assert status(service, second) == 401
        look_at_all(quiet, f"{service.url}/keys", tmp_path, "keys")
