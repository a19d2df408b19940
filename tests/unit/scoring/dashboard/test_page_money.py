"""Money on the page: dollars saved by hand, and no empty cards with the stub."""

from __future__ import annotations

import pytest

from markbook.config.settings import Price
from markbook.contract import Counters
from markbook.scoring.dashboard.savings import Savings, compute_savings, has_money, signed_usd
from markbook.scoring.teachers.static import StaticTeacher
from tests.unit.scoring.dashboard.test_page import CODE, cards, named, score, shown

PRICE = Price(input=2.0, output=10.0)


def test_dollars_saved_by_hand():
    # 1.5 million tokens of baseline are $3.00, 20,000 of output $0.20, and $0.70 was spent
    total = Counters(
        tokens_saved=1_400_000, api_tokens_sent=100_000, api_tokens_received=20_000, cost_usd=0.7
    )
    savings = compute_savings(total, PRICE)
    assert savings == Savings(1_500_000, 20_000, PRICE, 0.7)
    assert (savings.baseline_usd, savings.saved_usd) == (pytest.approx(3.2), pytest.approx(2.5))
    assert savings.formula == (
        "1,500,000 input tokens at $2 per million + 20,000 output tokens at $10 per million − "
        "$0.7000 spent = $2.50"
    )


@pytest.mark.parametrize(
    ("total", "price"),
    [
        (Counters(tokens_saved=1, cost_usd=0.1), None),
        (Counters(tokens_saved=1, cost_usd=None), PRICE),
        (Counters(cost_usd=0.0), PRICE),
    ],
)
def test_without_a_price_or_a_baseline_there_is_no_saving(total, price):
    assert compute_savings(total, price) is None


def test_a_loss_has_its_sign():
    assert [signed_usd(each) for each in (-1.5, -0.00012, 0.0, 1.5)] == [
        "−$1.50",
        "−$0.00012",
        "$0.00",
        "$1.50",
    ]


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        (Counters(samples=9), False),
        (Counters(api_tokens_sent=1), True),
        (Counters(cost_usd=None), True),
        (Counters(usage_unknown_calls=1), True),
    ],
)
def test_with_the_stand_in_money_is_shown_where_there_was_some(total, shown):
    assert has_money(total, is_stub=True) is shown
    assert has_money(total, is_stub=False)


async def test_the_page_shows_the_saving_and_its_formula(service, database_url):
    settings = {"teacher": {"prices": {"claude-haiku-5-5": {"input": 1.0, "output": 5.0}}}}
    async with service(settings, database_url=database_url) as http:
        await score(http, CODE, named("plus"))  # 200 in, 20 out, $0.0003
        await score(http, CODE, run="again")
        totals, page = (await http.get("/stats")).json()["totals"], await shown(http)
    baseline = totals["tokens_saved"] + 200
    saved = baseline * 1e-6 + 20 * 5e-6 - 0.0003
    assert cards(page)["Dollars saved"] == signed_usd(saved)
    formula = (
        f"{baseline:,} input tokens at $1 per million + 20 output tokens at $5 per million − "
        f"$0.00030 spent = {signed_usd(saved)}"
    )
    [link] = [each for each in page.all("a") if each.words == "Dollars saved"]
    assert (link.attributes["href"], link.attributes["title"]) == ("#dollars", formula)
    assert any(each.words.startswith(f"Saved: {formula}.") for each in page.all("dd"))


async def test_with_the_stand_in_no_card_and_no_section_is_empty(service):
    async with service(by=StaticTeacher()) as http:
        await score(http, CODE)
        page = await shown(http)
    assert list(cards(page)) == ["Samples", "Hit rate"]
    assert not [each.words for each in page.all("h2") if each.words.startswith("Budgets")]


async def test_with_the_stand_in_a_budget_is_shown(service):
    async with service({"budgets": {"total": {"usd": 1.0}}}, by=StaticTeacher()) as http:
        await score(http, CODE)
        page = await shown(http)
    assert [each.words for each in page.all("h2") if each.words.startswith("Budgets")]
