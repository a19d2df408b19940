"""OpenTelemetry traces: steps of a request as spans, sent to OTEL_EXPORTER_OTLP_ENDPOINT, if that
is set.

FastAPI makes the span of a request and the provider's SDK that of a teacher call; neither contains
prompts or code.
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
"""Timeout of exporting a batch of spans, retries included: shutdown waits for the last batch."""

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths of health and metrics probes, which are neither traced nor logged above DEBUG."""

_tracer = trace.get_tracer("markbook")

REQUESTS = TelemetryConfig(
    # metrics are at /metrics; logs are off because a validation error may quote a sample
    metrics=False,
    logs=False,
    operation_spans=False,
    auto_configure=False,
    exclude=lambda scope: scope["path"] in PROBES,
)
"""FastAPI's telemetry: one span per request, none for probes."""


@contextmanager
def span(name: str, **attributes: AttributeValue) -> Iterator[Span]:
    """A span for one step of a request; nearly free where tracing is off.

    Of an error only its type is recorded.
    """
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
    """Start exporting traces as the OTEL_ variables configure; returns the endpoint, None where
    tracing is off.

    Raises ConfigError for settings that are not supported. Called once per process.
    """
    endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)
    off = (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if endpoint is None or off:
        return None
    if (
        protocol := next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP)
    ) != _HTTP:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, but only {_HTTP} is supported: "
            "collectors receive it on port 4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter is not installed: pip install "
            "'markbook[otel]' (in this repository: pip install -e '.[otel]'), or unset it"
        ) from error
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create({} if named else {"service.name": "markbook"})
    )
    patience = None if any(environ.get(name) for name in _TIMEOUTS) else EXPORT_S
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=patience)))
    trace.set_tracer_provider(provider)
    return endpoint
