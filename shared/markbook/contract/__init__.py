"""The wire contract: request, result, stats and error models, one definition for both sides.

Field names are those of DESIGN's "The wire"; changing one is a breaking change for every client.
"""

from markbook.contract.marks import KeptGroup, KeptMarks, MarkRecord
from markbook.contract.scoring import (
    ErrorCode,
    ExtractedFrom,
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
from markbook.contract.stats import (
    AuditCount,
    AuditStats,
    Bucket,
    BudgetState,
    CacheStats,
    Counters,
    ProfileInputs,
    ScoreStats,
    Series,
    SeriesPoint,
    Stats,
    TeacherStats,
)
from markbook.contract.wire import DEFAULT_RUN, ErrorBody, Language, ProfileId, RequestId, RunName, Test, WireModel

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
    "ExtractedFrom",
    "KeptGroup",
    "KeptMarks",
    "Language",
    "MarkRecord",
    "ProfileId",
    "ProfileInputs",
    "RequestId",
    "RequestUsage",
    "Result",
    "RunName",
    "Sample",
    "SampleError",
    "SampleTests",
    "ScoreRequest",
    "ScoreResponse",
    "ScoreStats",
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
