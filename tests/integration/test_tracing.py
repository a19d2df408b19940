"""Traces of a real process, as a collector gets them over OTLP; and what is said when they
cannot be sent.
"""

from __future__ import annotations

import json
import sys

import httpx
import pytest

from markbook.config.loading import ConfigError
from markbook.contract import Sample, ScoreRequest
from markbook.scoring.observability.tracing import start_tracing
from tests.collector import Collector, attributes
from tests.emulator.server import Emulator
from tests.processes import ServiceProcess

CANARY = "canary7f3a"
TRACE = "0af7651916cd43dd8448eb211c80319c"
GOOD = f"def add(a, b):\n    return a + b  # {CANARY}\n"


def request(code: str = GOOD) -> ScoreRequest:
    return ScoreRequest(
        samples=[Sample(prompt=f"Write add(a, b). {CANARY}", language="python", code=code)]
    )


def test_a_request_is_a_trace_of_its_steps_without_code(emulator: Emulator, tmp_path, sqlite_url):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"teacher": {"name": "anthropic", "base_url": emulator.url}}))
    environment = {
        "ANTHROPIC_API_KEY": f"key-{CANARY}",
        "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
    }
    with Collector() as collector:
        with ServiceProcess(
            sqlite_url,
            "--config",
            str(config),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            **environment,
        ) as service:
            headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            body = request().model_dump(mode="json")
            for _ in range(2):
                assert (
                    httpx.post(f"{service.url}/score", json=body, headers=headers).status_code
                    == 200
                )
            httpx.post(f"{service.url}/score", json={CANARY: 1})
            httpx.get(f"{service.url}/readyz")
            assert service.stop() == 0
        log = "".join(service.log)
    assert f"traces: {collector.url}" in log
    assert collector.service == {"markbook"}

    parents = {span.span_id: span for span in collector.spans}
    names = {
        (span.name, parents[span.parent_span_id].name if span.parent_span_id in parents else None)
        for span in collector.spans
    }
    assert names == {
        ("POST /score", None),
        ("store lookup", "POST /score"),
        ("heuristic tier", "POST /score"),
        ("gather", "POST /score"),
        ("teacher", "POST /score"),
        ("reserve", "teacher"),
        ("anthropic.messages.create", "teacher"),
    }
    assert (
        len([span for span in collector.spans if span.trace_id.hex() == TRACE]) == 9
    )  # the second has two
    [teacher] = [span for span in collector.spans if span.name == "teacher"]
    [entry] = emulator.log
    assert entry.bill is not None
    told = attributes(teacher)
    assert (told["gen_ai.request.model"], told["markbook.samples"]) == ("claude-haiku-5-5", 1)
    assert told["gen_ai.usage.output_tokens"] == entry.bill.output_tokens
    bill = entry.bill
    assert (
        told["gen_ai.usage.input_tokens"]
        == bill.input_tokens + bill.cache_read_input_tokens + bill.cache_write_5m
    )
    assert not [body for body in collector.raw if CANARY.encode() in body]


def test_nothing_is_sent_where_nothing_is_said():
    assert start_tracing({}) is None
    assert (
        start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"})
        is None
    )
    assert (
        start_tracing(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}
        )
        is None
    )


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'markbook\[otel\]'"):
        start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"})


def test_another_protocol_is_refused_with_the_one_there_is():
    with pytest.raises(ConfigError, match="is grpc, but only http/protobuf is supported"):
        start_tracing(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        )
