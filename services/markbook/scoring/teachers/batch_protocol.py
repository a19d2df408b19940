"""What a teacher offers that can be asked in batches: requests with ids of the caller's,
answered within a day.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from markbook.contract import ErrorCode
from markbook.scoring.errors import TeacherError
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import Judgment, ScoringFailure, TeacherCall


class BatchNotSentError(TeacherError):
    """The provider certainly does not have the batch.

    `is_final`: sending it again will not help.
    """

    def __init__(
        self, code: ErrorCode, detail: str, *, is_final: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(code, detail, retry_after_s=retry_after_s)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The body of one request of a batch, and the most it can cost."""

    params: Mapping[str, Any]
    bound: TeacherCall


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request: an outcome per sample in the order shown, and its bill."""

    outcomes: Sequence[Judgment | ScoringFailure]
    call: TeacherCall


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """Where a batch is that was perhaps sent.

    `id`: it was. `is_certain`: it was, or certainly was not.
    """

    id: str | None
    is_certain: bool


class BatchApi(Protocol):
    """Batches of one teacher.

    Every method that asks the provider may raise TeacherError: retry later.
    """

    max_requests: int
    max_bytes: int
    result_days: float
    """Days for which the provider keeps results."""

    def parts(self, group: Group) -> list[list[int]]:
        """The indices of the group's samples in the order shown, as one request or, where they
        are long, several.
        """
        ...

    def build(self, group: Group) -> BatchRequest:
        """The request for all samples of `group`, in its order. The same for the same group."""
        ...

    async def send(self, requests: Sequence[tuple[str, BatchRequest]]) -> str:
        """Send requests under their ids; returns the batch's id at the provider.

        Raises BatchNotSentError. After another TeacherError the provider may have the batch: `find`
        it.
        """
        ...

    async def find(
        self, prefix: str, requests: int, since_ms: int, known: Collection[str]
    ) -> FoundBatch:
        """The batch of so many requests whose ids begin with `prefix`, sent at `since_ms` (Unix
        milliseconds) or later.

        `known`: ids at the provider that are other batches.
        """
        ...

    async def has_ended(self, batch: str) -> bool:
        """Whether every request of the batch has a result."""
        ...

    def results(self, batch: str) -> AsyncGenerator[tuple[str, object]]:
        """The id of each request with its result for `read`, in any order."""
        ...

    def read(
        self,
        result: object,
        samples: int,
        bound: TeacherCall,
        sent: Mapping[str, Any] | None = None,
    ) -> BatchResult:
        """What a result means for a request of so many samples. Never raises.

        `sent`: the body of the request, which each judgment then has with its reply; None: neither
        is kept.
        """
        ...

    def lost(self, samples: int, bound: TeacherCall) -> BatchResult:
        """A request whose result cannot be had any more: charged at its bound."""
        ...
