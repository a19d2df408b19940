"""What a browser can be tricked into: other sites' requests, other names for this service,
bodies that are not JSON.
"""

from __future__ import annotations

import re

import pytest
from starlette.datastructures import Headers

from markbook.config.settings import Budget
from markbook.scoring.api.cross_site import check_host
from markbook.scoring.errors import UnknownHostError
from markbook.scoring.store import ApiKey, Store

BODY = {
    "samples": [{"prompt": "Write f.", "language": "python", "code": "def f():\n    return 1\n"}]
}
ROUTES = ("/score", "/get_reward?language=python", "/verify?language=python")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_site_cannot_spend(service, teacher, route, headers):
    async with service() as http:
        answer = await http.post(route, json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert teacher.groups == []


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://markbook"}]
)
async def test_what_no_other_site_has_sent_is_marked(service, headers):
    async with service() as http:
        assert (await http.post("/score", json=BODY, headers=headers)).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "media_type", ["text/plain", "text/plain;charset=UTF-8", "", "multipart/form-data"]
)
async def test_a_body_that_does_not_say_that_it_is_json_is_refused(
    service, teacher, route, media_type
):
    async with service() as http:
        answer = await http.post(route, content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["detail"]
    assert teacher.groups == []


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"]
)
async def test_json_by_any_of_its_names_is_read(service, media_type):
    async with service() as http:
        answer = await http.post(
            "/score", content=b'{"samples": []}', headers={"Content-Type": media_type}
        )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "10.1.2.3",
        "scoring:8000",
        "Marks.Example.",
    ],
)
def test_names_that_nobody_else_can_point_here(host):
    check_host(Headers({"host": host}), ["marks.example"])


@pytest.mark.parametrize(
    "host", ["rebind.evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "["]
)
def test_names_that_anybody_may_have_pointed_here(host):
    with pytest.raises(UnknownHostError, match="allowed_hosts"):
        check_host(Headers({"host": host}), ["marks.example"])


@pytest.mark.parametrize("path", ["/", "/stats", "/marks?key=x", "/metrics", "/nothing"])
async def test_without_keys_a_foreign_name_is_refused_everywhere(service, path):
    async with service() as http:
        answer = await http.get(path, headers={"Host": "rebind.evil.example"})
        healthy = await http.get("/healthz", headers={"Host": "rebind.evil.example"})
    assert (answer.status_code, answer.json()["error"]) == (421, "unknown_host")
    assert healthy.status_code == 200


async def test_the_owner_may_allow_a_name(service):
    async with service({"service": {"allowed_hosts": ["marks.example"]}}) as http:
        assert (await http.get("/stats", headers={"Host": "marks.example:80"})).status_code == 200


async def test_with_keys_the_key_protects_under_any_name(service, database_url):
    store = Store(database_url, 1_000)
    store.open("00" * 8, {}, 1)
    await store.keys.add(ApiKey("ann", b"x" * 32, "*", Budget(), 1))
    await store.close()
    async with service(database_url=database_url) as http:
        answer = await http.get("/stats", headers={"Host": "marks.example"})
    assert answer.status_code == 401


async def test_no_redirect_repeats_a_foreign_host(service):
    async with service() as http:
        answer = await http.get("/healthz/", headers={"Host": "localhost"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


async def test_the_docs_load_nothing_from_elsewhere_and_run_no_inline_script(service):
    async with service() as http:
        page = await http.get("/docs")
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        found = {name: (await http.get(f"/{name}")).status_code for name in named}
    expected = ("docs/swagger-ui.css", "openapi.json", "docs/swagger-ui-bundle.js", "docs/start.js")
    assert found == dict.fromkeys(expected, 200)
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert re.findall(r"<script(?! src=)", page.text) == []
