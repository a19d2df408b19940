"""What every model on the wire shares, and the names used in more than one of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

DEFAULT_RUN = "default"
SCORE_DIGITS = 6

RunName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:/@+-]+$")
]
RequestId = Annotated[
    str, StringConstraints(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")
]
ProfileId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
# one non-empty line: it is part of a line of the teacher's prompt
Language = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=64, pattern=r"^ *[^\p{C}\p{Z}][^\p{C}\p{Zl}\p{Zp}]*$"
    ),
]
Test = Annotated[str, StringConstraints(pattern=r"\S")]  # a blank one would pass whatever the code


def _rounded(digits: int) -> AfterValidator:
    """For what is computed: a sum of floats would be shown as 0.6699999999999999."""
    return AfterValidator(lambda number: round(number, digits))


Score = Annotated[float, _rounded(SCORE_DIGITS)]
"""A score, a criterion or a mean of them: with far more digits than any teacher marks with."""
Usd = Annotated[float, _rounded(9)]
"""US dollars, to the nano-dollar that the ledger counts in."""
Weighed = Annotated[float, _rounded(3)]
"""Tokens weighed by their price."""
Squares = Annotated[float, _rounded(9)]
"""A sum of squared scores, to the 1e-9 that it is counted in."""
Seconds = Annotated[float, _rounded(3)]


class WireModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorBody(WireModel):
    """Every 4xx and 5xx body."""

    error: str = Field(
        description="Code of the error, for programs: `invalid_request`, `unauthorized`, …"
    )
    detail: str = Field(description="What is wrong and what to change, in one line for people.")
    field: str | None = Field(
        default=None,
        description="Path of the wrong field: `samples[3].language`; absent if there is no single "
        "one.",
    )
