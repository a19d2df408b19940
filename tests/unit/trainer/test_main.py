"""`markbook train`, as far as it goes without a model."""

from __future__ import annotations

from typing import Any

import pytest

import markbook.trainer.run as command
from markbook.cli import main
from markbook.client import AsyncScoringClient, ClientError


@pytest.mark.parametrize("key", ["mb_secret", None])
def test_the_key_of_the_service_comes_from_the_environment(monkeypatch, tmp_path, capsys, key):
    seen: dict[str, Any] = {}

    def client(_url: str, **options: Any) -> None:
        seen.update(options)
        seen["key"] = AsyncScoringClient(_url, **options)._http.headers.get("Authorization")
        raise ClientError("no further")

    monkeypatch.setattr(command, "ScoringClient", client)
    monkeypatch.delenv("MARKBOOK_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("MARKBOOK_API_KEY", key)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"training: {{output_dir: {tmp_path}}}\nservice: {{max_samples_per_request: 4}}\n"
    )
    assert main(["train", "--config", str(config)]) == command.BAD_CONFIG
    assert seen["key"] == (key and f"Bearer {key}")
    assert (
        seen["limits"].max_samples_per_request == 4
    )  # those of the service that reads the same file
    assert "mb_secret" not in capsys.readouterr().out
