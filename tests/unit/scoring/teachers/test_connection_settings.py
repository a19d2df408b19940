"""A mark belongs to the server that gave it: what another server calls by a model's name is not
that model.
"""

from __future__ import annotations

import pytest

from markbook.config.settings import TeacherConfig
from markbook.scoring.fingerprint import hash_profile
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.connection_settings import other_server
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher

THE_PROVIDERS = {
    "name": "anthropic",
    "model": "claude-haiku-5-5",
    "thinking": "disabled",
    "effort": None,
    "explain": False,
    "shuffle_group": True,
}
"""What the books in use have."""


def identity(base_url: str | None = None) -> dict[str, object]:
    config = TeacherConfig(name="anthropic", base_url=base_url)
    return dict(AnthropicTeacher(config, load_rubric(), api_key="k").identity())


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://api.anthropic.com",
        "https://API.anthropic.com/",
        "https://api.anthropic.com:443",
    ],
)
def test_the_providers_marks_keep_their_profile(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert identity(url) == THE_PROVIDERS
    assert hash_profile(identity(url)) == "16e44b4887c0719f"


def test_another_servers_marks_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert identity("http://Gateway:8080/") == THE_PROVIDERS | {"server": "http://gateway:8080"}
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://mock:8089")  # which the SDK heeds
    assert identity() == THE_PROVIDERS | {"server": "http://mock:8089"}
    assert identity("https://api.anthropic.com") == THE_PROVIDERS


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://HOST:80/", "http://host"),
        ("https://host:80", "https://host:80"),
        ("http://[::1]:8089", "http://[::1]:8089"),
        ("https://host/A/b//", "https://host/A/b"),
        ("https://me:secret@host:1/?key=secret#x", "https://host:1"),
        ("http://api.anthropic.com", "http://api.anthropic.com"),
        ("https://api.anthropic.com/mine", "https://api.anthropic.com/mine"),
    ],
)
def test_a_server_has_one_spelling_and_no_secret(url: str, server: str) -> None:
    assert other_server(url) == server
