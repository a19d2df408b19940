"""Prometheus metrics at `/metrics`.

They count since this process started; `/stats` counts what the store holds.

No label value comes from a client, so the number of series is bounded: there is no label for the
run.
"""

from __future__ import annotations

from collections import Counter as Totals
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from markbook.contract import BudgetState, ErrorCode, Source
from markbook.scoring.observability.agreement import Agreement
from markbook.scoring.observability.alert_counts import AlertCounts
from markbook.scoring.store import RequestLine, score_sums
from markbook.scoring.teachers.protocol import Teacher
from markbook.scoring.types import TeacherCall

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

# `_created` series would double their number; process_start_time_seconds shows restarts
disable_created_metrics()  # type: ignore[no-untyped-call]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OUTCOMES = frozenset(
    {
        *(
            "ok",
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "refusal",
            "model_context_window_exceeded",
            "unreadable",
        ),
        *(
            "timeout",
            "connection_lost",
            "not_sent",
            "no_stop_reason",
            "invalid_request_error",
            "authentication_error",
        ),
        *(
            "billing_error",
            "permission_error",
            "not_found_error",
            "request_too_large",
            "rate_limit_error",
        ),
        *("api_error", "timeout_error", "overloaded_error"),
    }
)
"""Known outcomes of a teacher call; others are counted as `other`."""

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REQUEST_S = (*_QUICK_S, 30, 60, 180)
_GROUP_SAMPLES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_CALL_S = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 21, 34, 60, 150)


class Metrics:
    """In its own registry, so that several services in one process do not share counters."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Requests(self._registry)
        self.samples = Samples(self._registry)
        self.calls = Calls(self._registry)
        self.store = StoreTimes(self._registry)
        self.gather_wait = GatherWait(self._registry)
        self.agreement = Agreement(self._registry)
        self.alerts = AlertCounts(self._registry)

        self._budget_left = Gauge(
            "markbook_budget_left_usd",
            "US dollars left of a budget, after reservations of calls in progress.",
            ["scope"],
            registry=self._registry,
        )
        self._budget_spent = Gauge(
            "markbook_budget_spent_ratio",
            "Spent share of a budget above zero, of dollars or tokens whichever is larger.",
            ["scope"],
            registry=self._registry,
        )
        self.paid_twice = Counter(
            "markbook_marks_paid_twice",
            "Marks that two replicas paid for: one was paused or cut off for longer than its "
            "lease.",
            registry=self._registry,
        )

    def set_build_info(self, teacher: Teacher, profile: str, claims: Callable[[], int]) -> None:
        """Metrics that are read, not counted.

        `claims` returns the number of marks this process has claimed.
        """
        info = Info(
            "markbook_build",
            "Version of Markbook, teacher, model and profile.",
            registry=self._registry,
        )
        is_stub = "true" if teacher.is_stub else "false"
        about = {
            "teacher": teacher.name,
            "model": teacher.model,
            "is_stub": is_stub,
            "profile": profile,
        }
        info.info({"version": version("markbook"), **about})
        what = "Marks that this process has claimed to ask the teacher for."
        Gauge("markbook_claims_held", what, registry=self._registry).set_function(claims)
        up = Gauge(
            "markbook_teacher_up",
            "0 while the teacher is down (its last calls all failed), else 1.",
            registry=self._registry,
        )
        up.set_function(lambda: float(teacher.outage() is None))

    def exposition(self, budgets: Mapping[str, BudgetState] | None = None) -> bytes:
        """All metrics in Prometheus' text format.

        `budgets` by scope; those without a limit in dollars are left out.
        """
        self._budget_left.clear()
        self._budget_spent.clear()
        for scope, state in (budgets or {}).items():
            if (share := state.spent_share()) is not None:
                self._budget_spent.labels(scope).set(share)
            if state.limit_usd is not None:
                self._budget_left.labels(scope).set(max(0.0, state.limit_usd - state.spent_usd))
        return generate_latest(self._registry)


class Requests:
    """HTTP requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["method", "route", "status"]
        self._answered = Counter(
            "markbook_http_requests", "HTTP requests answered.", labels, registry=registry
        )
        self._duration = Histogram(
            "markbook_http_request_duration_seconds",
            "Seconds from the start of a request to the end of its response.",
            ["route"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self._errors = Counter(
            "markbook_http_errors", "HTTP requests refused or failed.", ["code"], registry=registry
        )
        self.in_progress = Gauge(
            "markbook_http_requests_in_progress",
            "HTTP requests queued or being served.",
            registry=registry,
        )

    def observe(
        self, method: str, route: str, status: int, seconds: float, error: str | None
    ) -> None:
        """Count one response.

        `route` is the pattern of the path, `error` the code of an error response.
        """
        self._answered.labels(method if method in _METHODS else OTHER, route, str(status)).inc()
        self._duration.labels(route).observe(seconds)
        if error is not None:
            self._errors.labels(error).inc()


class Samples:
    """Samples by the source of their mark, with their scores, and unscored ones by error code."""

    def __init__(self, registry: CollectorRegistry) -> None:
        marked = Counter(
            "markbook_samples",
            "Samples scored, by source of the mark.",
            ["source"],
            registry=registry,
        )
        unscored = Counter(
            "markbook_unscored_samples",
            "Samples left unscored, by error code.",
            ["code"],
            registry=registry,
        )
        self._marked = {source: marked.labels(source.value) for source in Source}
        self._scores = Scores(registry)
        self._unscored = {code.value: unscored.labels(code.value) for code in ErrorCode}

    def observe(self, line: RequestLine) -> None:
        for source, counter in self._marked.items():
            if count := getattr(line, source.value):
                counter.inc(count)
        for code, count in line.unscored.items():
            self._unscored[code].inc(count)
        self._scores.observe(line)


class Scores(Collector):
    """The scores of the marks by source.

    Lines hold them in bins, which a Histogram of the library cannot take.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        names = [source.value for source in Source]
        self._sums: dict[str, Totals[str]] = {source: Totals() for source in names}
        registry.register(self)

    def observe(self, line: RequestLine) -> None:
        for source, values in line.scores.items():
            self._sums[source].update(dict(zip(score_sums.COLUMNS, values, strict=True)))

    def collect(self) -> Iterator[Metric]:
        scores = HistogramMetricFamily(
            "markbook_score", "Scores of the samples, by source.", labels=["source"]
        )
        squares = CounterMetricFamily(
            "markbook_score_squares",
            "Sum of the squared scores, for their deviation.",
            labels=["source"],
        )
        for source, sums in self._sums.items():
            bins = accumulate(sums[name] for name in score_sums.BIN_COLUMNS)
            ends = [str(number / score_sums.BINS) for number in range(1, score_sums.BINS + 1)]
            buckets = [(end, float(count)) for end, count in zip(ends, bins, strict=True)]
            scores.add_metric(
                [source],
                [*buckets, ("+Inf", buckets[-1][1])],
                sums[score_sums.SUM] / score_sums.MICRO,
            )
            squares.add_metric([source], sums[score_sums.SQUARES] / score_sums.NANO)
        yield scores
        yield squares


class Calls:
    """Teacher calls and what they cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"markbook_teacher_{name}", what, labels, registry=registry)

        self._over = counter("calls", "Teacher calls, by outcome.", "outcome")
        tokens = counter("tokens", "Tokens billed, by kind; the kinds do not overlap.", "kind")
        self._tokens = {
            kind: tokens.labels(kind) for kind in ("input", "output", "cache_read", "cache_write")
        }
        self._usd = counter("cost_usd", "US dollars billed.")
        self._unpriced = counter("unpriced_calls", "Calls of a model without a known price.")
        self._unknown = counter(
            "usage_unknown_calls", "Calls whose usage is not known: counted at their bound."
        )
        self._unknown_usd = counter(
            "usage_unknown_usd", "US dollars that calls of unknown usage cost at most."
        )
        self._duration = Histogram(
            "markbook_teacher_call_duration_seconds",
            "Seconds a teacher call takes.",
            buckets=_CALL_S,
            registry=registry,
        )
        self.group_samples = Histogram(
            "markbook_teacher_group_samples",
            "Samples per group that the teacher is asked about.",
            buckets=_GROUP_SAMPLES,
            registry=registry,
        )
        self.in_progress = Gauge(
            "markbook_teacher_calls_in_progress", "Teacher calls in progress.", registry=registry
        )

    def observe(self, call: TeacherCall) -> None:
        """Count a finished call.

        Calls of unknown usage are counted apart, at their bound, as in `/stats`.
        """
        self._over.labels(call.outcome if call.outcome in _OUTCOMES else OTHER).inc()
        if call.duration_ms is not None:
            self._duration.observe(call.duration_ms / 1000)
        if call.cost_usd is None:
            self._unpriced.inc()
        if call.usage_unknown:
            self._unknown.inc()
            self._unknown_usd.inc(call.cost_usd or 0)
            return
        self._tokens["input"].inc(call.input_tokens)
        self._tokens["output"].inc(call.output_tokens)
        self._tokens["cache_read"].inc(call.cache_read_input_tokens)
        self._tokens["cache_write"].inc(call.cache_creation_input_tokens)
        self._usd.inc(call.cost_usd or 0)


class StoreTimes:
    """Durations of database operations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        duration = Histogram(
            "markbook_store_operation_duration_seconds",
            "Seconds of a reading statement or a writing transaction, waiting for a thread "
            "included.",
            ["operation"],
            buckets=_QUICK_S,
            registry=registry,
        )
        self._duration = {operation: duration.labels(operation) for operation in ("read", "write")}

    def __call__(self, operation: str) -> AbstractContextManager[object]:
        return self._duration[operation].time()


class GatherWait:
    """Time that samples of requests of one sample wait for others of their task."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Histogram(
            "markbook_gather_wait_seconds",
            "Seconds that a request of one sample waited for others of its task, once it needed "
            "the teacher.",
            buckets=_QUICK_S,
            registry=registry,
        )

    def observe(self, seconds: float) -> None:
        self._duration.observe(seconds)
