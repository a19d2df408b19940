"""The client of the scoring service, async and sync: patient, order-keeping, and no request too large.

Asking again is safe: marks are kept under their fingerprint, and a request that is sent again with its `request_id`
is counted once. So the same request is sent again while the service is away, and nothing else ever is.
"""

from markbook.client.client import AsyncScoringClient, ScoringClient, bearer
from markbook.client.errors import ClientError, RequestRejected, ServiceUnavailable
from markbook.client.retry import RetryPolicy

__all__ = [
    "AsyncScoringClient",
    "ClientError",
    "RequestRejected",
    "RetryPolicy",
    "ScoringClient",
    "ServiceUnavailable",
    "bearer",
]
