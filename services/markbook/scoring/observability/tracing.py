"""Traces for OpenTelemetry: the request's steps as spans, sent where OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere.

FastAPI itself makes the span of a request, and the provider's SDK that of a call; neither has content in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AttributeValue

from markbook.config.loading import ConfigError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_HTTP = "http/protobuf"

EXPORT_S = 2.0
"""Seconds that a batch of spans has to arrive, retries included: a stop of the service waits for the last one."""

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that machines ask all the time."""

_tracer = trace.get_tracer("markbook")

REQUESTS = TelemetryConfig(
    # the counts are at /metrics, and what a validation error says may quote a sample
    metrics=False,
    logs=False,
    operation_spans=False,
    auto_configure=False,
    exclude=lambda scope: scope["path"] in PROBES,
)
"""What FastAPI tells of requests: a span each, but for the probes."""


@contextmanager
def span(name: str, **attributes: AttributeValue) -> Iterator[Span]:
    """A step of the request. Costs next to nothing where no traces are sent. An error is told by its type alone."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield trace.INVALID_SPAN
        return
    with _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as step:
        try:
            yield step
        except BaseException as error:
            step.set_attribute("error.type", type(error).__qualname__)
            step.set_status(StatusCode.ERROR)
            raise


def start_tracing(environ: Mapping[str, str] = os.environ) -> str | None:
    """Send this process's traces from now on, as the OTEL_ variables say; returns where to, None for nowhere.

    Raises ConfigError when they ask for what cannot be done. Called once a process.
    """
    endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if endpoint is None or off:
        return None
    if (protocol := next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP)) != _HTTP:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, but traces are sent as {_HTTP} only: a collector takes it at "
            "port 4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends traces is not installed: pip install 'markbook[otel]' "
            "(in this repository: pip install -e '.[otel]'), or unset it"
        ) from error
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "markbook"}))
    patience = None if any(environ.get(name) for name in _TIMEOUTS) else EXPORT_S
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=patience)))
    trace.set_tracer_provider(provider)
    return endpoint
