"""`GET /marks`, and a line of an export: marks as the store has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from markbook.contract.wire import ProfileId, Score, WireModel


class KeptGroup(WireModel):
    """The samples of one task that the teacher was given together, and where this one stood in
    its request.
    """

    id: str = Field(pattern=r"^[0-9a-f]{16}$", description="Hash of the group's samples.")
    position: int = Field(ge=1, le=32_767, description="Place of this sample in the group, from 1.")
    size: int = Field(ge=1, le=32_767, description="Samples in the group.")


class MarkRecord(WireModel):
    """A stored mark."""

    key: str = Field(
        description="The `key` of a result: `STUDENT:`, short hashes of task and code, the "
        "language."
    )
    profile: ProfileId = Field(
        description="Hash of all that the mark depends on besides its sample."
    )
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of profile, whole task, code and language."
    )
    language: str = Field(description="The sample's language, by its canonical name.")
    score: Score | None = Field(
        description="With the current weights; null for the criteria of another rubric."
    )
    criteria: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] = Field(
        description="The teacher's mark for each criterion of the rubric, in [0, 1]."
    )
    reasons: list[str] = Field(description="The teacher's reasons, where it gave any.")
    created_at: AwareDatetime = Field(description="ISO 8601: when the teacher marked the sample.")
    group: KeptGroup = Field(
        description="The samples that the teacher was given together with this one."
    )
    task: str | None = Field(description="The whole task; null where texts are not kept.")
    code: str | None = Field(
        description="As extracted from the completion; null where texts are not kept."
    )
    tests_digest: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the sample's tests; null where it had none.",
    )


class KeptMarks(WireModel):
    """More than one where short hashes collide: their digests differ."""

    marks: list[MarkRecord] = Field(description="The marks of that key, one per digest.")
