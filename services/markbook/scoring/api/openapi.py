"""The OpenAPI description, completed with what FastAPI cannot see in the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from markbook.contract import ErrorBody, MetricsReport, ScoreRequest
from markbook.scoring.api.auth_middleware import OPEN_PATHS
from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.examples import REQUESTS, RESPONSES
from markbook.scoring.api.reward_models import RewardRequest, VerifyRequest

BODIES: dict[str, type[BaseModel]] = {
    "score": ScoreRequest,
    "get_reward": RewardRequest,
    "verify": VerifyRequest,
    "report_run_metrics": MetricsReport,
}
"""By operation id: bodies that the routes read themselves, so that FastAPI does not know of
them.
"""
TAGS = [
    {"name": "scoring", "description": "Samples in, marks out; and what the store has of a mark."},
    {
        "name": "statistics",
        "description": "What was asked, where the marks came from, what they cost.",
    },
    {"name": "operations", "description": "Probes and metrics."},
    {"name": "other trainers", "description": "Marks in the shapes of OpenRLHF and NeMo Gym."},
]
_REFERENCE = "#/components/schemas/{model}"
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Required once the service's store has API keys.",
}
_BEFORE_ROUTES = {
    str(status): response for status, response in error_responses(401, 421, 503).items()
}
"""What the middleware answers on every path that is not open: it reads the keys, and checks the
host without any.
"""


def describe(app: FastAPI) -> None:
    """Have `app.openapi()` return the whole description."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generated())
        return generated()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> None:
    """Add bodies, examples, the scheme of the keys, and what the middleware answers before any
    route.
    """
    models: list[type[BaseModel]] = [ErrorBody, *BODIES.values()]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    schema["components"]["schemas"].update(definitions["$defs"])
    schema["components"]["securitySchemes"] = {"key": _SCHEME}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            name = operation["operationId"]
            if path not in OPEN_PATHS:
                operation["security"] = [{"key": []}, {}]
                operation["responses"] |= _BEFORE_ROUTES
            if name in BODIES:
                body = {
                    "schema": {"$ref": _REFERENCE.format(model=BODIES[name].__name__)},
                    "example": REQUESTS[name],
                }
                operation["requestBody"] = {"required": True, "content": {"application/json": body}}
            if name in RESPONSES:
                for content in operation["responses"]["200"]["content"].values():
                    content["example"] = RESPONSES[name]
            operation["responses"] = dict(sorted(operation["responses"].items()))
