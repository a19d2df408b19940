"""A query parameter that a route does not take is refused, by every route."""

from __future__ import annotations

import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from markbook.scoring.api.error_handlers import handle_errors
from markbook.scoring.api.query_parameters import check_query
from markbook.scoring.api.routers import add_routes, create_router

OF_THE_PAGE = [
    ("GET", "/"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/page.css"),
]


async def test_every_route_refuses_what_it_does_not_take(service):
    async with service() as http:
        described = (await http.get("/openapi.json")).json()["paths"].items()
        routes = [(method.upper(), path) for path, methods in described for method in methods]
        assert len(routes) > 7
        for method, path in (*routes, *OF_THE_PAGE):
            answer = await http.request(method, path, params={"zzz": "1"})
            assert answer.status_code == 422, (path, answer.text)
            assert (answer.json()["error"], answer.json()["field"]) == ("invalid_request", "zzz")
            assert answer.json()["detail"].startswith("zzz: unknown query parameter; ")


async def test_no_route_is_without_the_check(service):
    async with service() as http:
        routes = [route for route in http._transport.app.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    for route in routes:
        assert [each.call for each in route.dependant.dependencies].count(check_query) == 1, (
            route.path
        )


def test_a_route_that_is_added_need_not_declare_it():
    app = FastAPI()
    handle_errors(app)
    router = create_router()

    def inner(page: int = 1) -> int:
        return page

    @router.get("/new")
    async def new(size: int = 1, page: int = Depends(inner)) -> int:
        return size * page

    add_routes(app, router)
    client = TestClient(app)
    assert client.get("/new?size=2&page=3").json() == 6
    assert (
        client.get("/new?sizes=2").json()["detail"]
        == "sizes: unknown query parameter; did you mean size?"
    )


@pytest.mark.parametrize(
    ("path", "field", "detail"),
    [
        ("/stats?runs=x", "runs", "runs: unknown query parameter; did you mean run?"),
        ("/stats?runs=", "runs", "runs: unknown query parameter; did you mean run?"),
        (
            "/stats/series?buckets=day",
            "buckets",
            "buckets: unknown query parameter; did you mean bucket?",
        ),
        ("/marks?kye=STUDENT:a:b:python", "kye", "kye: unknown query parameter; did you mean key?"),
        ("/stats?%00=1", "\0", "\0: unknown query parameter; known here: run, since"),
        ("/stats?run=a&run=b", "run", "run: given more than once"),
        ("/readyz?verbose", "verbose", "verbose: unknown query parameter; this route takes none"),
        (
            f"/stats?{'r' * 5000}=1",
            "r" * 80,
            f"{'r' * 80}: unknown query parameter; known here: run, since",
        ),
    ],
)
async def test_the_nearest_name_is_named(service, path, field, detail):
    async with service() as http:
        answer = await http.get(path)
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["detail"]) == (field, detail)


async def test_what_a_route_takes_still_reaches_it(service):
    async with service() as http:
        for path in (
            "/stats?run=a&since=2026-01-01",
            "/stats/series?bucket=day",
            "/?run=a&q=x",
            "/page.css?v=1",
        ):
            assert (await http.get(path)).status_code == 200, path
