"""The OpenAPI schema, where the routes themselves do not tell it all."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from markbook.contract import ScoreRequest
from markbook.scoring.api.auth_middleware import OPEN_PATHS
from markbook.scoring.api.reward_routes import RewardRequest, VerifyRequest

BODIES: tuple[type[BaseModel], ...] = (ScoreRequest, RewardRequest, VerifyRequest)
"""Which the routes for marks read themselves, so that FastAPI does not know of them."""
_REFERENCE = "#/components/schemas/{model}"
_SCHEME = {"type": "http", "scheme": "bearer", "description": "Asked for once the service's book has API keys."}
_NO_KEY = {
    "description": "No API key, or a wrong or a revoked one.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorBody")}}},
}


def describe(app: FastAPI) -> None:
    """Put in the bodies that routes read themselves, and what the doorkeeper answers before any route is asked."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generated()
            _, models = models_json_schema([(body, "validation") for body in BODIES], ref_template=_REFERENCE)
            schema["components"]["schemas"].update(models["$defs"])
            schema["components"]["securitySchemes"] = {"key": _SCHEME}
            for path, operations in schema["paths"].items():
                if path not in OPEN_PATHS:
                    for operation in operations.values():
                        operation["security"] = [{"key": []}, {}]
                        operation["responses"]["401"] = _NO_KEY
        return generated()

    app.openapi = openapi  # type: ignore[method-assign]
