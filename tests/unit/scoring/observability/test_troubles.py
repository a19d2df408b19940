"""What keeps samples from being scored is seen: in the log, at /metrics and /stats, and on the
page.
"""

from __future__ import annotations

import pytest

from markbook.config.settings import Budget
from markbook.scoring.store.budget_alerts import BudgetAlert, BudgetWatch
from markbook.scoring.store.budget_days import current_budget
from markbook.scoring.teachers.protocol import Outage
from tests.unit.scoring.pipeline.test_score import code, sample, score


@pytest.mark.parametrize(
    ("nusd", "tokens", "percent"),
    [
        (799_999_999, 0, None),
        (800_000_000, 0, 80),
        (899_999_999, 0, 80),
        (900_000_000, 0, 90),
        (0, 79, None),
        (0, 80, 80),
        (0, 100, 90),  # all of it, but a call still fitted
        (100_000_000, 95, 90),  # what is nearer to its end counts
    ],
)
def test_both_sides_of_each_level(nusd, tokens, percent, caplog):
    watch, budget = BudgetWatch(), current_budget("total", Budget(usd=1.0, tokens=100), 7)
    watch.spent(budget, nusd, tokens, 7)
    assert watch.current(7) == (
        {} if percent is None else {"total": BudgetAlert(percent, 7, budget)}
    )
    assert len(caplog.messages) == (percent is not None)


def test_each_level_is_said_once_by_scope(caplog):
    watch, total = BudgetWatch(), current_budget("total", Budget(tokens=100), 7)
    for tokens in (80, 85, 79, 92, 95):
        watch.spent(total, 0, tokens, tokens)
        watch.spent(
            current_budget("run a", Budget(), 7), 0, tokens, tokens
        )  # without a limit there is nothing to say
    watch.exhausted(total, 99)
    watch.exhausted(total, 100)
    watch.spent(total, 0, 85, 101)
    assert caplog.messages == [
        "80 % of the budget of total is spent or set aside",
        "90 % of the budget of total is spent or set aside",
        "100 % of the budget of total: new samples are unscored (budget_exhausted)",
    ]
    assert watch.current(7) == {"total": BudgetAlert(100, 99, total)}


async def test_a_spent_budget_is_on_the_page_at_metrics_and_in_the_log(service, caplog):
    # a group of one sample is bound at 100 tokens in and 10 out, at 150 millionths of a dollar
    settings = {"budgets": {"total": {"usd": 0.0002}, "runs": {"demo": {"tokens": 1000}}}}
    async with service(settings) as http:
        before = (await http.get("/metrics")).text
        await score(http, sample(code("one")))
        await score(http, sample(code("two")))
        metrics, page = (await http.get("/metrics")).text, (await http.get("/")).text
    assert 'markbook_budget_left_usd{scope="total"} 0.0002' in before
    assert 'markbook_budget_left_usd{scope="total"} 5' in metrics  # 5e-05
    assert 'left_usd{scope="run demo"}' not in metrics  # no limit in dollars
    assert 'markbook_budget_spent_ratio{scope="run demo"} 0.11' in metrics
    assert (
        "100 % of the budget of total: new samples are unscored (budget_exhausted)"
        in caplog.messages
    )
    assert "The budget of total is spent since" in page


async def test_an_outage_is_on_the_page_at_metrics_and_in_stats(service, teacher):
    async with service() as http:
        await score(http, sample(code("one")))
        up = (await http.get("/metrics")).text
        teacher.down = Outage(1_700_000_000.0, "529 <overloaded>\u202e")
        down, page = (await http.get("/metrics")).text, (await http.get("/")).text
        stats = (await http.get("/stats")).json()["teacher"]
        ready = await http.get("/readyz")
    assert "markbook_teacher_up 1.0" in up
    assert "markbook_teacher_up 0.0" in down
    assert "The teacher is down since 2023-11-14 22:13 UTC: 529 &lt;overloaded&gt;" in page
    assert stats["down_since"].startswith("2023-11-14T22:13:20")
    assert stats["down_cause"].startswith("529")
    assert ready.status_code == 200  # marks in the store are served
