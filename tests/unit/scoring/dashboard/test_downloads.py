"""`GET /export`: what a key may see and nothing else, as a file, a page of marks at a time."""

from __future__ import annotations

import csv
import io
import json

import pytest

from markbook.config.settings import Budget
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.exports.export import MarkExport
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.store.export_import import BATCH
from tests.fakes import true_score

TASK = "Write add(a, b)."
ROOT, A = ({"Authorization": f"Bearer mb_{name}"} for name in ("root", "a"))


def sample(code: str) -> dict[str, str]:
    return {"prompt": TASK, "language": "text", "code": code}


@pytest.fixture
async def keyed(service, database_url):
    """A mark of team a, one of team b, and one of team b's that team a was given."""
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    for name, runs in (("root", "*"), ("a", "team-a/*")):
        await store.keys.add(ApiKey(name, hash_secret(f"mb_{name}"), runs, Budget(), 1))
    await store.close()
    async with service(database_url=database_url) as http:
        for run, code in (
            ("team-a/1", "=own"),
            ("team-b/1", "theirs"),
            ("team-b/1", "shared"),
            ("team-a/1", "shared"),
        ):
            answer = await http.post(
                "/score", json={"run": run, "samples": [sample(code)]}, headers=ROOT
            )
            assert answer.status_code == 200, answer.text
        yield http


def rows(answer) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_a_key_downloads_the_marks_of_its_runs(keyed):
    every = {row["code"]: row["run"] for row in rows(await keyed.get("/export", headers=ROOT))}
    assert every == {"'=own": "team-a/1", "theirs": "team-b/1", "shared": "team-b/1"}
    own = {row["code"]: row["run"] for row in rows(await keyed.get("/export", headers=A))}
    assert own == {"'=own": "team-a/1", "shared": ""}  # who paid for it is not named
    assert (await keyed.get("/export")).status_code == 401
    assert (await keyed.get("/export", params={"run": "team-b/1"}, headers=A)).status_code == 403


async def test_a_run_and_a_least_score_select(keyed):
    found = rows(await keyed.get("/export", params={"run": "team-b/1"}, headers=ROOT))
    assert {row["code"] for row in found} == {"theirs", "shared"}
    least = max(true_score("theirs"), true_score("shared"))
    found = rows(
        await keyed.get("/export", params={"run": "team-b/1", "min_score": least}, headers=ROOT)
    )
    assert [float(row["score"]) for row in found] == [least]
    later = {"since": "2099-01-01T00:00:00Z"}
    assert rows(await keyed.get("/export", params=later, headers=ROOT)) == []


async def test_json_lines_for_all_runs_can_be_imported_and_others_have_no_header(keyed):
    lines = (await keyed.get("/export", params={"format": "jsonl"}, headers=ROOT)).text.splitlines()
    assert json.loads(lines[0])["markbook_export"] == 2
    assert len(lines) == 4
    lines = (await keyed.get("/export", params={"format": "jsonl"}, headers=A)).text.splitlines()
    assert {json.loads(line)["code"] for line in lines} == {"=own", "shared"}


async def test_pairs_are_made_of_what_the_key_sees(keyed):
    options = {"format": "jsonl", "pairs": "true", "min_margin": 0}
    scores = {code: true_score(code) for code in ("=own", "shared", "theirs")}
    for headers, codes in ((ROOT, ("=own", "shared", "theirs")), (A, ("=own", "shared"))):
        [pair] = map(
            json.loads,
            (await keyed.get("/export", params=options, headers=headers)).text.splitlines(),
        )
        assert pair["chosen"] == max(codes, key=scores.__getitem__)
        assert pair["rejected"] == min(codes, key=scores.__getitem__)
        assert pair["prompt"] == TASK


async def test_a_browser_that_is_signed_in_downloads_with_its_session(keyed):
    assert (await keyed.post("/login", data={"key": "mb_a"})).status_code == 303
    assert {row["code"] for row in rows(await keyed.get("/export"))} == {"'=own", "shared"}
    keyed.cookies.clear()
    assert (await keyed.get("/export")).status_code == 401


async def test_it_is_a_file_that_no_browser_shows(keyed):
    answer = await keyed.get("/export", params={"pairs": "true"}, headers=A)
    assert answer.headers["content-disposition"] == 'attachment; filename="pairs.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "parquet"},
        {"min_score": "2"},
        {"since": "7"},
        {"run": "a b"},
        {"min_margin": "-1"},
    ],
)
async def test_a_wrong_parameter_is_refused(service, wrong):
    async with service() as http:
        answer = await http.get("/export", params=wrong)
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_request"


async def test_the_page_links_to_downloads_of_the_run_that_is_shown(service):
    async with service() as http:
        await http.post("/score", json={"run": "a/b", "samples": [sample("x")]})
        page = (await http.get("/")).text
        assert 'href="export?format=csv"' in page
        assert 'href="export?format=jsonl&amp;pairs=true"' in page
        assert (
            'href="export?run=a%2Fb&amp;format=csv"'
            in (await http.get("/", params={"run": "a/b"})).text
        )


async def test_more_than_a_page_of_marks_is_complete_and_read_a_page_at_a_time(
    service, monkeypatch
):
    sizes = []
    plain = MarkExport.page

    def noted(self, records):
        sizes.append(len(records))
        return plain(self, records)

    monkeypatch.setattr(MarkExport, "page", noted)
    async with service({"service": {"max_samples_per_request": 300}}) as http:
        samples = [sample(f"code {number}") for number in range(BATCH + 1)]
        assert (await http.post("/score", json={"run": "r", "samples": samples})).status_code == 200
        found = rows(await http.get("/export"))
    assert sorted(row["code"] for row in found) == sorted(each["code"] for each in samples)
    assert sizes == [BATCH, 1]
