"""The wire contract: request, result, stats and error models, one definition for both sides.

Field names are those of DESIGN's "The wire"; changing one is a breaking change for every client.
"""

from shared.contract.marks import KeptGroup, KeptMark, KeptMarks
from shared.contract.scoring import (
    ErrorCode,
    Judged,
    RequestUsage,
    Result,
    Sample,
    SampleError,
    SampleTests,
    Scored,
    ScoreRequest,
    ScoreResponse,
    Source,
    Unscored,
)
from shared.contract.stats import (
    AuditCount,
    AuditStats,
    Bucket,
    BudgetState,
    CacheStats,
    Counters,
    Identity,
    Series,
    SeriesPoint,
    Stats,
    TeacherStats,
)
from shared.contract.wire import DEFAULT_RUN, ErrorBody, Language, ProfileId, RequestId, RunName, Test, WireModel

__all__ = [
    "DEFAULT_RUN",
    "AuditCount",
    "AuditStats",
    "Bucket",
    "BudgetState",
    "CacheStats",
    "Counters",
    "ErrorBody",
    "ErrorCode",
    "Identity",
    "Judged",
    "KeptGroup",
    "KeptMark",
    "KeptMarks",
    "Language",
    "ProfileId",
    "RequestId",
    "RequestUsage",
    "Result",
    "RunName",
    "Sample",
    "SampleError",
    "SampleTests",
    "ScoreRequest",
    "ScoreResponse",
    "Scored",
    "Series",
    "SeriesPoint",
    "Source",
    "Stats",
    "TeacherStats",
    "Test",
    "Unscored",
    "WireModel",
]
