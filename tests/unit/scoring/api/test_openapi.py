"""The OpenAPI description: names, texts, examples and errors, as a reader or a generated client
meets them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from markbook.contract import Batch, ErrorBody
from markbook.scoring import errors
from markbook.scoring.api.error_responses import ERRORS

KEYED = {401, 421, 422, 503}
BODY = KEYED | {403, 408, 413, 415, 429}
OPERATIONS = {
    "score": ("post", "/score", BODY),
    "get_batch": ("get", "/batches/{batch_id}", KEYED | {404}),
    "get_stats": ("get", "/stats", KEYED | {403}),
    "get_stats_series": ("get", "/stats/series", KEYED | {403}),
    "report_run_metrics": ("post", "/runs/{run}/metrics", BODY),
    "get_run_metrics": ("get", "/runs/{run}/metrics", KEYED | {403}),
    "get_mark": ("get", "/marks", KEYED | {404}),
    "get_metrics": ("get", "/metrics", KEYED | {403}),
    "get_health": ("get", "/healthz", {422}),
    "get_readiness": ("get", "/readyz", {422, 503}),
    "get_reward": ("post", "/get_reward", BODY | {424}),
    "verify": ("post", "/verify", BODY | {424}),
}
"""Operation id -> method, path, and the errors that it may answer with."""


@pytest.fixture
async def schema(service) -> dict[str, Any]:
    async with service() as http:
        answer: dict[str, Any] = (await http.get("/openapi.json")).json()
        return answer


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_operations_have_names_that_read_and_the_errors_that_can_come(schema):
    found = {
        operation["operationId"]: (
            method,
            path,
            {int(status) for status in operation["responses"]} - {200, 202},
        )
        for method, path, operation in operations(schema)
    }
    assert found == OPERATIONS


def test_every_error_is_a_body_of_one_shape(schema):
    for _, path, operation in operations(schema):
        for status, response in operation["responses"].items():
            if status not in ("200", "202"):
                content = response["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, (
                    path,
                    status,
                )
                ErrorBody.model_validate(content["example"])
                assert response["description"]
    assert "error" in schema["components"]["schemas"]["ErrorBody"]["required"]


def test_no_domain_error_is_left_out():
    known = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and each.__module__ == errors.__name__
    }
    statuses = {each.status for each in known if issubclass(each, errors.ServiceError)}
    assert (
        statuses - {500} <= ERRORS.keys()
    )  # 500 is a defect, and nothing that a client is to count on


def undescribed(schema: dict[str, Any]) -> Iterator[str]:
    """Fields and parameters without a text.

    What refers to a model may leave the text to that model.
    """
    models = schema["components"]["schemas"]
    for name, model in models.items():
        if (model.get("type") == "object" or "enum" in model) and not model.get("description"):
            yield name
        for field, of in model.get("properties", {}).items():
            target = models[of["$ref"].rpartition("/")[2]] if "$ref" in of else {}
            if not (of.get("description") or target.get("description")):
                yield f"{name}.{field}"
    for _, path, operation in operations(schema):
        if not operation.get("description"):
            yield path
        yield from (
            f"{path}?{each['name']}"
            for each in operation.get("parameters", ())
            if not each.get("description")
        )


def test_every_model_field_and_parameter_is_described(schema):
    assert list(undescribed(schema)) == []
    assert len(schema["components"]["schemas"]) > 20


async def test_every_example_is_one_of_its_route(service):
    """Requests are accepted as they stand; responses have the fields of the service's own."""
    async with service() as http:
        schema = (await http.get("/openapi.json")).json()
        score = example(schema["paths"]["/score"]["post"]["requestBody"])
        [key, *_] = [
            each["key"] for each in (await http.post("/score", json=score)).json()["results"]
        ]
        for method, path, operation in operations(schema):
            if path == "/batches/{batch_id}":  # this teacher has none
                assert Batch.model_validate(example(operation["responses"]["200"])).results
                continue
            body = example(operation["requestBody"]) if "requestBody" in operation else None
            query = {"key": key} if path == "/marks" else {}
            answer = await http.request(method, path.format(run="my-run"), params=query, json=body)
            assert answer.status_code == 200, (path, answer.text)
            shown = example(operation["responses"]["200"])
            if isinstance(shown, str):
                assert {line.split()[2] for line in shown.splitlines() if line[0] == "#"} == {
                    "markbook_samples_total"
                }
                assert "# TYPE markbook_samples_total counter" in answer.text
            else:
                assert fields(shown) == fields(answer.json()), path


def example(described: dict[str, Any]) -> Any:
    [content] = described["content"].values()
    return content["example"]


def fields(value: Any) -> Any:
    """The names in an object, and those of the first object in each of its lists."""
    if isinstance(value, list):
        return [fields(value[0])] if value and isinstance(value[0], dict) else []
    return {name: fields(each) if isinstance(each, list) else None for name, each in value.items()}
