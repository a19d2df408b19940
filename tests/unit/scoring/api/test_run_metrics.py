"""What trainers report about their runs: stored on both databases, bounded, and seen by whom it
concerns.
"""

from __future__ import annotations

import json

import pytest

from markbook.client.run_metrics import metrics_path
from markbook.config.settings import Budget
from markbook.contract import MAX_METRICS
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.api.run_routes import MAX_BODY_BYTES
from markbook.scoring.store import OWNER, ApiKey, Store, Viewer
from markbook.scoring.store.run_metrics import ReportedMetrics
from tests.unit.scoring.book import opened

REPORT = {
    "step": 20,
    "metrics": {"mark": {"value": 0.71, "low": 0.66, "high": 0.76}, "pass_at_1": {"value": 1}},
}


def report(**metric: object) -> dict[str, object]:
    return {"step": 1, "metrics": {"mark": metric}}


async def test_a_report_is_read_back_and_replaced_by_one_of_the_same_step(
    service, database_url, clock
):
    async with service(database_url=database_url) as http:
        stored = await http.post("/runs/team/a/metrics", json=REPORT)
        await http.post(
            "/runs/team%2Fa/metrics", json={"step": 3, "metrics": {"mark": {"value": -2.5}}}
        )
        clock.now_ms += 1_000
        await http.post(
            "/runs/team/a/metrics", json={"step": 20, "metrics": {"mark": {"value": 0.5}}}
        )
        found = (await http.get("/runs/team/a/metrics")).json()
        none = (await http.get("/runs/other/metrics")).json()
    assert (stored.status_code, stored.json()) == (200, {"stored": 2})
    assert [
        (each["step"], each["name"], each["value"], each["low"], each["high"])
        for each in found["metrics"]
    ] == [
        (3, "mark", -2.5, None, None),
        (20, "mark", 0.5, None, None),
        (20, "pass_at_1", 1.0, None, None),
    ]
    times = [each["reported_at"] for each in found["metrics"]]
    assert times[2] < times[0] < times[1]  # reported first, second, third
    assert (found["run"], none) == ("team/a", {"run": "other", "metrics": []})


@pytest.mark.parametrize("run", ["..", "a/../b", "metrics", "a/metrics", "a:b@c+d"])
async def test_every_name_of_a_run_has_its_path(service, run):
    async with service() as http:
        assert (await http.post(metrics_path(run), json=REPORT)).status_code == 200
        found = (await http.get(metrics_path(run))).json()
    assert (found["run"], len(found["metrics"])) == (run, 2)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"step": -1, "metrics": REPORT["metrics"]}, "step"),
        ({"step": 10**12 + 1, "metrics": REPORT["metrics"]}, "step"),
        ({"step": True, "metrics": REPORT["metrics"]}, "step"),
        ({"step": 1, "metrics": {}}, "metrics"),
        (
            {
                "step": 1,
                "metrics": {f"m{number}": {"value": 0} for number in range(MAX_METRICS + 1)},
            },
            "metrics",
        ),
        ({"step": 1, "metrics": {"x" * 65: {"value": 0}}}, None),
        ({"step": 1, "metrics": {"a b": {"value": 0}}}, None),
        (report(value="0.5"), "metrics.mark.value"),
        (report(value=True), "metrics.mark.value"),
        (report(value=None), "metrics.mark.value"),
        (report(value=0.5, low=0.4), "metrics.mark"),
        (report(value=0.5, low=0.6, high=0.4), "metrics.mark"),
        (report(value=0.5, error=0.1), "metrics.mark.error"),
        (report(value=10**400), "metrics.mark.value"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_with_its_field(service, body, field):
    async with service() as http:
        answer = await http.post(
            "/runs/a/metrics",
            content=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        stored = (await http.get("/runs/a/metrics")).json()["metrics"]
    assert (answer.status_code, stored) == (422, [])
    assert field is None or answer.json()["field"] == field


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_only_finite_numbers_are_stored(service, number):
    body = f'{{"step": 1, "metrics": {{"mark": {{"value": {number}}}}}}}'
    async with service() as http:
        answer = await http.post(
            "/runs/a/metrics", content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422


async def test_the_largest_report_fits_and_a_larger_body_is_refused(service):
    number = -1.2345678901234567e-300
    metrics = {
        f"{index:064}": {"value": number, "low": number, "high": number}
        for index in range(MAX_METRICS)
    }
    body = json.dumps({"step": 10**12, "metrics": metrics})
    headers = {"Content-Type": "application/json"}
    async with service() as http:
        fits = await http.post(
            "/runs/a/metrics", content=body.ljust(MAX_BODY_BYTES), headers=headers
        )
        over = await http.post(
            "/runs/a/metrics", content=body.ljust(MAX_BODY_BYTES + 1), headers=headers
        )
        foreign = await http.post("/runs/a/metrics", content=body)
        unnamed = await http.post("/runs/a b/metrics", content=body, headers=headers)
    assert (fits.status_code, fits.json()) == (200, {"stored": MAX_METRICS})
    assert (over.status_code, over.json()["detail"]) == (
        413,
        "the body is larger than 16,384 bytes",
    )
    assert (foreign.status_code, unnamed.status_code) == (415, 422)


async def test_of_a_run_the_newest_values_are_kept(database_url):
    async with opened(database_url) as store:
        few = ReportedMetrics(store._database, max_per_run=4)
        for step in range(3):
            await few.add(
                "a", step, {"x": (step, None, None), "y": (step, None, None)}, 1_000 + step
            )
        await few.add("b", 0, {"x": (0.0, None, None)}, 1)
        await few.add("a", 1, {"x": (9.0, 8.0, 10.0)}, 2_000)  # in place of one: none is dropped
        kept = await few.of_runs(OWNER, ["a", "b"])
    assert [(each.run, each.step, each.name, each.value) for each in kept] == [
        ("b", 0, "x", 0.0), ("a", 1, "y", 1.0), ("a", 2, "x", 2.0), ("a", 2, "y", 2.0),
        ("a", 1, "x", 9.0),
    ]  # fmt: skip


async def test_a_key_reports_and_reads_its_own_runs_only(service, database_url):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    await store.keys.add(ApiKey("a", hash_secret("mb_a"), "team-a/*", Budget(), 1))
    await store.run_metrics.add("team-b/1", 1, {"mark": (0.5, None, None)}, 5)
    await store.run_metrics.add("team-a/1", 1, {"mark": (0.5, None, None)}, 7)
    key = ApiKey("a", b"", "team-a/*", Budget(), 1)
    seen = await store.run_metrics.of_runs(Viewer(key), ["team-a/1", "team-b/1"])
    spans = await store.run_metrics.spans(Viewer(key), ["mark"])
    await store.close()
    assert ([each.run for each in seen], list(spans)) == (["team-a/1"], ["team-a/1"])
    mine = {"Authorization": "Bearer mb_a"}
    async with service(database_url=database_url) as http:
        statuses = {}
        for run in ("team-a/1", "team-b/1"):
            written = await http.post(f"/runs/{run}/metrics", json=REPORT, headers=mine)
            read = await http.get(f"/runs/{run}/metrics", headers=mine)
            unkeyed = await http.post(f"/runs/{run}/metrics", json=REPORT)
            statuses[run] = (written.status_code, read.status_code, unkeyed.status_code)
    assert statuses == {"team-a/1": (200, 200, 401), "team-b/1": (403, 403, 401)}
