"""Every route against its own OpenAPI schema: no 5xx, no answer that the schema does not describe.

Real HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.processes import ServiceProcess

EXAMPLES = 60
"""A route and kind of data."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    load_all_checks()
    with ServiceProcess(f"sqlite:///{tmp_path_factory.mktemp('schema') / 'book.db'}") as service:
        yield schemathesis.openapi.from_url(f"{service.url}/openapi.json")


@pytest.mark.long
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_in_the_schema(schema: BaseSchema, mode: GenerationMode) -> None:
    """What the schema forbids is refused; what it allows is accepted or over a limit, which no
    schema can tell.
    """
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # there is nothing to get wrong

        @given(operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def every_answer(case: Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        every_answer()
        asked += 1
    assert asked >= 2
