"""The client of the scoring service, for asyncio and for threads.

Needs neither torch nor a database driver.

    with ScoringClient() as client:
        result = client.score(prompt="…", code="…", language="python", run="mine")

A failed call is never a score. A sample that could not be scored comes back as Unscored with a
reason; a request that failed raises a ClientError: ServiceUnavailableError, RequestRejectedError or
InvalidRequestError.

Asking again is safe: scores are kept under their fingerprint, and a request that is sent again with
its `request_id` is counted once. So the same request is sent again while the service is away, and
nothing else ever is.
"""

from markbook.client.async_client import AsyncScoringClient
from markbook.client.client import ScoringClient
from markbook.client.connection import bearer
from markbook.client.errors import (
    ClientError,
    InvalidRequestError,
    RequestRejectedError,
    ServiceUnavailableError,
)
from markbook.client.retry import RetryPolicy
from markbook.client.run_metrics import MetricLike

__all__ = [
    "AsyncScoringClient",
    "ClientError",
    "InvalidRequestError",
    "MetricLike",
    "RequestRejectedError",
    "RetryPolicy",
    "ScoringClient",
    "ServiceUnavailableError",
    "bearer",
]
