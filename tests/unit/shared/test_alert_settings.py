"""The section `alerts`: its values, and that the webhook's URL is shown nowhere."""

from __future__ import annotations

import pytest

from markbook.config.loading import ConfigError, load_config, parse_config, without_secrets
from tests.hook import SECRET

URL = f"https://hooks.example/services/{SECRET}: #x"


def test_the_url_is_read_from_the_environment_as_it_is_written():
    config = load_config(environ={"MARKBOOK_ALERTS__WEBHOOK_URL": URL})
    assert config.alerts.webhook_url is not None
    assert config.alerts.webhook_url.get_secret_value() == URL


def test_the_url_is_neither_printed_nor_written_down():
    config = parse_config({"alerts": {"webhook_url": URL}})
    for shown in (
        repr(config),
        str(config),
        config.model_dump_json(),
        repr(without_secrets(config)),
    ):
        assert SECRET not in shown
    assert "webhook_url" not in without_secrets(config)["alerts"]
    assert parse_config(without_secrets(config)).alerts.webhook_url is None


@pytest.mark.parametrize(
    "url", [f"ftp://{SECRET}", SECRET, f"https:///{SECRET}", [SECRET], f"https://[{SECRET}"]
)
def test_a_wrong_url_is_not_quoted(url):
    with pytest.raises(ConfigError) as caught:
        parse_config({"alerts": {"webhook_url": url}})
    assert "alerts.webhook_url is wrong, expected" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("percent", [[0], [100], [80.5], ["80"], 80])
def test_levels_are_whole_percents_below_all(percent):
    with pytest.raises(ConfigError, match=r"alerts\.budget_percent"):
        parse_config({"alerts": {"budget_percent": percent}})


@pytest.mark.parametrize("percent", [[], [1, 99]])
def test_levels_may_be_any_number(percent):
    assert parse_config({"alerts": {"budget_percent": percent}}).alerts.budget_percent == percent


@pytest.mark.parametrize("per", ["week", "days", 1])
def test_a_budget_is_per_day_or_per_month(per):
    with pytest.raises(ConfigError, match=r"budgets\.per_run\.per"):
        parse_config({"budgets": {"per_run": {"usd": 1.0, "per": per}}})


def test_a_recurring_budget_has_a_period():
    with pytest.raises(ConfigError, match=r"budgets\.recurring\.per"):
        parse_config({"budgets": {"recurring": {"usd": 1.0, "per": None}}})
