"""Foreign text on a terminal, and secrets in what is printed or written down."""

from __future__ import annotations

import logging

import pytest
import yaml

from markbook.client import AsyncScoringClient, ClientError
from markbook.config.loading import ConfigError, load_config
from markbook.redaction import hide_secrets
from markbook.scoring.api.error_handlers import render
from markbook.scoring.errors import StoreUnavailableError
from markbook.scoring.observability.logs import TextLines
from markbook.scoring.store.engine import open_engine
from markbook.terminal import printable
from markbook.trainer.run_dir import merge_resumed_config, with_run_name
from markbook.trainer.summary import write_config

SECRET = "S3cret"


def test_what_a_terminal_would_obey_is_shown_as_an_escape():
    wild = "red \x1b[31m\x1b]0;owned\x07 \u202eback \x85\r\nnext\tcell é 漢 😀"
    shown = printable(wild)
    assert shown == "red \\x1b[31m\\x1b]0;owned\\x07 \\u202eback \\x85\\r\nnext\tcell é 漢 😀"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://u:{SECRET}@h/db",
        f"postgresql://u:a@{SECRET}@h/db",
        f"postgresql://u:{SECRET}/x@h/db",
        f"cannot use 'postgresql://u:p@{SECRET}@127.0.0.1:1/db' now",
        f"postgresql://h/db?user=u&password={SECRET}&sslmode=x",
        f"http://{SECRET}@h",
    ],
)
def test_no_part_of_a_password_is_left(text):
    assert SECRET not in hide_secrets(text)


def test_what_holds_no_secret_stays():
    text = "mail a@b.c, see http://h:80/x?y=1 and sqlite:///data/markbook.db"
    assert hide_secrets(text) == text


@pytest.mark.parametrize("url", [f"sqlite://u:{SECRET}@h/x", "sqlite://h/x"])
def test_a_sqlite_url_with_a_host_is_one_line_without_the_password(url):
    with pytest.raises(ConfigError, match="three slashes") as refused:
        open_engine(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"MARKBOOK_DATABASE_URL": f"postgresql://u:p@{SECRET}@127.0.0.1:1/db"},
        {"MARKBOOK_STORE__DATABASE_URLL": f"postgresql://u:{SECRET}@127.0.0.1:1/db"},
        {"MARKBOOK_STORE__PASSWORD": SECRET},
    ],
)
def test_what_is_mistyped_is_not_quoted(environment):
    with pytest.raises(ConfigError) as refused:
        open_engine(load_config(environ=environment).store.database_url)
    assert SECRET not in str(refused.value)


def test_a_runs_copy_of_the_configuration_has_no_database_url(tmp_path):
    config = load_config(environ={"MARKBOOK_DATABASE_URL": f"postgresql://u:{SECRET}@db/markbook"})
    write_config(config, tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    assert SECRET not in text
    assert "database_url" not in yaml.safe_load(text)["store"]
    load_config(tmp_path / "config.yaml", environ={})  # and can be read again


def test_a_client_learns_nothing_of_the_database_and_the_log_all_of_it():
    error = StoreUnavailableError(
        'the database postgresql://u:***@db/x cannot be used: role "u" does not exist'
    )
    body = bytes(render(error).body).decode()
    assert "db/x" not in body
    assert "role" not in body
    assert "service's log" in body
    assert "role" in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "MARKBOOK_TEACHER__BASE_URL",
        "MARKBOOK_RLAIF__SCORING_URL",
        "MARKBOOK_TRAINING__GENERATION_URL",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_quoted(name):
    with pytest.raises(ConfigError, match="without user and password") as refused:
        load_config(environ={name: f"http://u:{SECRET}@h:80"})
    assert SECRET not in str(refused.value)
    load_config(environ={name: "http://h:80/path"})


async def test_what_a_client_says_of_its_service_has_no_password():
    with pytest.raises(ClientError) as none:
        AsyncScoringClient(f"ftp://u:{SECRET}@h")
    async with AsyncScoringClient(f"http://u:{SECRET}@127.0.0.1:1", retry_policy=None) as client:
        with pytest.raises(ClientError) as away:
            await client.stats()
    for error in (none, away):
        assert SECRET not in str(error.value)
        assert "***@" in str(error.value)


def test_what_is_changed_of_a_runs_configuration_is_told_without_what_a_terminal_obeys(capsys):
    kept = with_run_name(load_config(environ={}), "demo")
    merge_resumed_config(kept, load_config(environ={"MARKBOOK_TRAINING__MODEL": '"a\\x1b[2Jb"'}))
    assert "a\\x1b[2Jb" in capsys.readouterr().out


def test_a_message_with_a_line_feed_stays_one_line_of_the_log():
    record = logging.LogRecord(
        "markbook", logging.INFO, "f.py", 1, "run %s", ("a\nERROR b \x1b[2J",), None
    )
    assert TextLines().format(record).endswith("INFO markbook: run a\\nERROR b \\x1b[2J")
