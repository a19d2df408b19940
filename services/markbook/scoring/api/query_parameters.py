"""The query of every request: a parameter that its route does not take is refused, not ignored."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant

from markbook.scoring.api.suggestions import did_you_mean
from markbook.scoring.errors import BadRequestError

_SHOWN_CHARS = 80


async def check_query(request: Request) -> None:
    """A dependency of every router, so that a new route need not declare it.

    Raises BadRequestError for a parameter that the route does not declare, or that is given twice:
    the route would see only the last one.
    """
    if not request.scope["query_string"]:
        return
    known = list(_parameters(request.scope["route"].dependant))
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        shown = name[:_SHOWN_CHARS]
        if name not in known:
            meant = did_you_mean(name, known) or "; this route takes none"
            raise BadRequestError(f"{shown}: unknown query parameter{meant}", field=shown)
        if name in seen:
            raise BadRequestError(f"{shown}: given more than once", field=shown)
        seen.add(name)


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameters(each)
