"""What every section of the configuration shares: strict values, and the types of its numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _without_user(url: str | None) -> str | None:
    if url is not None and "@" in url:
        raise ValueError(
            "an address without user and password, which would be copied into each run's folder"
        )
    return url


Address = Annotated[str, AfterValidator(_without_user)]
"""A URL that holds no secret. Keys come from the environment."""
PositiveInt = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    # strict: the string "false" is no boolean, and a silent guess would train a different model
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
