"""Routers with what holds for all routes, so that an application can take the routes as they
are.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from markbook.scoring.api.error_responses import error_responses
from markbook.scoring.api.query_parameters import check_query


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: generated clients name their functions so."""
    return route.name


def create_router(**options: Any) -> APIRouter:
    """A router that checks the query of its routes and names operations by their functions;
    `options` as FastAPI's.
    """
    return APIRouter(
        dependencies=[Depends(check_query)],
        responses=error_responses(422),  # of check_query, and of each route's own parameters
        generate_unique_id_function=operation_id,
        **options,
    )


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add the router's routes unchanged.

    `include_router` would derive the parameters of each route for every application, and match
    requests twice.
    """
    app.router.routes.extend(router.routes)
