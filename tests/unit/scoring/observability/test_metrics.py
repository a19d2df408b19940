"""/metrics: what it counts against what was asked, who may read it, and that nothing a client
sends makes a series.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api import auth
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.observability.instrumented_teacher import InstrumentedTeacher
from markbook.scoring.observability.metrics import Metrics
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import ScoringFailure, TeacherCall
from tests.fakes import OpenLimiter, RecordingTeacher

DASHBOARD = Path(__file__).parents[4] / "deploy" / "grafana-dashboard.json"
TASK = "Write add(a, b)."


def sample(name: str) -> dict[str, str]:
    return {"prompt": TASK, "language": "python", "code": f"def {name}(a, b):\n    return a + b\n"}


class Scraped:
    """What /metrics said.

    `scraped("samples_total", source="cache")` is a value, 0 where there is no such series.
    """

    def __init__(self, text: str) -> None:
        self.samples = [
            each for family in text_string_to_metric_families(text) for each in family.samples
        ]
        self.labels = {each.name: set(each.labels) for each in self.samples}

    def __call__(self, name: str, **labels: str) -> float:
        found = [
            each.value
            for each in self.samples
            if (each.name, each.labels) == (f"markbook_{name}", labels)
        ]
        return found[0] if found else 0


async def scrape(http: httpx.AsyncClient, **headers: str) -> Scraped:
    answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scraped(answer.text)


async def score(http: httpx.AsyncClient, *names: str, **more: object) -> httpx.Response:
    return await http.post("/score", json={"samples": [sample(name) for name in names], **more})


async def test_samples_tokens_and_dollars_by_hand(service, teacher, database_url):
    teacher.failures[sample("fails")["code"]] = ScoringFailure(ErrorCode.TEACHER_REFUSED, "no")
    async with service(database_url=database_url) as http:
        await score(http, "add", "plus", "add", "fails")
        await score(http, "add")
        await http.post("/score", json={"samples": [{**sample("x"), "code": "def f(:"}]})
        found = await scrape(http)
    assert {
        each: found("samples_total", source=each)
        for each in ("teacher", "coalesced", "cache", "heuristic")
    } == {
        "teacher": 2,
        "coalesced": 1,
        "cache": 1,
        "heuristic": 1,
    }
    assert found("unscored_samples_total", code="teacher_refused") == 1
    # the recording teacher bills 100 in and 10 out a sample, at 1 and 5 dollars a million
    assert found("teacher_tokens_total", kind="input") == 300
    assert found("teacher_tokens_total", kind="output") == 30
    assert found("teacher_cost_usd_total") == pytest.approx(300e-6 + 150e-6)
    assert found("teacher_calls_total", outcome="ok") == 1
    assert found("http_requests_total", method="POST", route="/score", status="200") == 3
    assert found("http_request_duration_seconds_count", route="/score") == 3
    assert found("http_requests_in_progress") == 1  # the one that asks
    assert found("teacher_calls_in_progress") == found("claims_held") == 0
    for operation in ("read", "write"):
        assert found("store_operation_duration_seconds_count", operation=operation) > 0


async def test_what_is_in_progress_is_seen_while_it_is(service, teacher, database_url):
    teacher.gate = asyncio.Event()
    async with service(database_url=database_url) as http:
        asked = asyncio.create_task(score(http, "add", "plus"))
        await teacher.asked.wait()
        found = await scrape(http)
        teacher.gate.set()
        await asked
        after = await scrape(http)
    assert (found("claims_held"), found("http_requests_in_progress")) == (2, 2)
    assert (after("claims_held"), after("http_requests_in_progress")) == (0, 1)


async def test_nothing_a_client_sends_becomes_a_label(service):
    async with service() as http:
        await score(http, "add")
        before = {(each.name, *each.labels.values()) for each in (await scrape(http)).samples}
        for number in range(3):
            await score(http, "add", run=f"run-{number}", request_id=f"request-{number}")
            await http.get(f"/nothing/{number}")
            await http.request(f"VERB{number}", "/score")
            await http.get("/stats", params={"run": f"run-{number}"})
        found = await scrape(http)
        new = {(each.name, *each.labels.values()) for each in found.samples} - before
    assert not [series for series in new if re.search(r"run-|request-|nothing|VERB", str(series))]
    assert found("http_requests_total", method="GET", route="none", status="404") == 3
    assert found("http_requests_total", method="other", route="/score", status="405") == 3
    assert found("http_errors_total", code="not_found") == 3


def test_an_outcome_that_nobody_knows_is_another():
    metrics = Metrics()
    for outcome in ("end_turn", "made up by a server", "too"):
        metrics.calls.observe(TeacherCall("m", outcome, duration_ms=250))
    found = Scraped(metrics.exposition().decode())
    assert found("teacher_calls_total", outcome="other") == 2
    assert found("teacher_call_duration_seconds_sum") == pytest.approx(0.75)


def test_a_bill_that_is_not_known_counts_apart_and_one_without_a_price_is_told():
    metrics = Metrics()
    metrics.calls.observe(TeacherCall("m", "timeout", 1000, 200, cost_usd=0.5, usage_unknown=True))
    metrics.calls.observe(TeacherCall("m", "end_turn", 10, 2, 30, 40, cost_usd=None))
    found = Scraped(metrics.exposition().decode())
    assert (
        found("teacher_usage_unknown_calls_total"),
        found("teacher_usage_unknown_usd_total"),
    ) == (1, 0.5)
    assert (found("teacher_unpriced_calls_total"), found("teacher_cost_usd_total")) == (1, 0)
    kinds = ("input", "output", "cache_read", "cache_write")
    assert [found("teacher_tokens_total", kind=kind) for kind in kinds] == [10, 2, 30, 40]


async def test_two_services_in_one_process_count_apart(service, tmp_path):
    async with service() as one, service(database_url=f"sqlite:///{tmp_path / 'two.db'}") as two:
        await score(one, "add")
        assert (await scrape(one))("samples_total", source="teacher") == 1
        assert (await scrape(two))("samples_total", source="teacher") == 0


async def test_with_keys_one_for_all_runs_is_needed(service, monkeypatch, database_url):
    monkeypatch.setattr(auth, "KEY_CACHE_TTL_S", 0.0)
    store = Store(database_url, 10_000)
    store.migrate()
    await store.keys.add(ApiKey("prometheus", hash_secret("mb_scrape"), "*", Budget(tokens=0), 1))
    await store.keys.add(ApiKey("ann", hash_secret("mb_ann"), "a/*", Budget(), 1))
    await store.close()
    async with service(database_url=database_url) as http:
        assert (await http.get("/metrics")).status_code == 401
        refused = await http.get("/metrics", headers={"Authorization": "Bearer mb_ann"})
        found = await scrape(http, Authorization="Bearer mb_scrape")
        spends = await http.post(
            "/score",
            json={"samples": [sample("add")]},
            headers={"Authorization": "Bearer mb_scrape"},
        )
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert (
        found("http_errors_total", code="unauthorized")
        == found("http_errors_total", code="forbidden")
        == 1
    )
    assert found("http_requests_total", method="GET", route="none", status="401") == 1
    assert spends.json()["results"][0]["error"]["code"] == "budget_exhausted"


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"uid", "title", "panels", "templating"} <= set(dashboard)
    assert "__inputs" not in dashboard  # it can be provisioned from a file
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in dashboard["panels"])
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


async def test_every_metric_of_the_dashboard_is_there_with_the_labels_that_it_is_asked_by(
    service, teacher
):
    async with service({"budgets": {"total": {"usd": 1.0}}}) as http:
        await score(http, "add")
        await http.get("/nothing")
        labels = (await scrape(http)).labels
    # names come from what Prometheus itself adds to a series, and from the service
    added = {"job", "instance"}
    for expression in expressions():
        for name, selector in re.findall(r"\b((?:markbook|process)_\w+)\{([^}]*)\}", expression):
            assert name in labels, f"{name} is in the dashboard, not in /metrics"
            asked = {*re.findall(r"(\w+)=~?\"", selector), *_grouped_by(expression)}
            assert asked <= labels[name] | added, f"{name} has no {asked - labels[name] - added}"


def _grouped_by(expression: str) -> list[str]:
    found = re.search(r"by \(([^)]*)\)", expression)
    return [label.strip() for label in found[1].split(",")] if found else []


def test_the_dashboard_shows_every_metric_there_is():
    shown = " ".join(expressions())
    families = re.findall(r"# TYPE (markbook_\w+) \w+", Metrics().exposition().decode())
    assert not [
        name for name in families if name not in shown and not name.endswith("unpriced_calls_total")
    ]


async def test_a_call_that_a_stop_cuts_off_is_in_progress_no_more():
    class Stopped(RecordingTeacher):
        async def mark(self, group, purse):
            await purse.reserve(self.bill(1))
            await purse.settle(await purse.reserve(self.bill(1)), self.bill(1), self.bill(1))
            seen.append(in_progress())
            raise asyncio.CancelledError

    def in_progress() -> float:
        return Scraped(metrics.exposition().decode())("teacher_calls_in_progress")

    seen: list[float] = []
    metrics = Metrics()
    with pytest.raises(asyncio.CancelledError):
        await InstrumentedTeacher(Stopped(), metrics.calls).mark(
            Group("g", "t", "python", ("x",)), OpenLimiter()
        )
    assert (seen, in_progress()) == ([1], 0)
