"""Logging: one line per event, as text or as JSON, with the id of its request; never code, prompts
or keys.

The fields of a request are collected in its RequestFields while it is served and logged in one line
pert its end.
"""

from __future__ import annotations

import json
import logging
import logging.config
import re
import secrets
import traceback
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from markbook.terminal import printable

REQUESTS = "markbook.requests"
"""Logger of the line per request."""
FIELDS = "fields"
"""The attribute of a log record that holds its structured fields."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True)
class RequestFields:
    """Fields of one request's log line.

    `given`: the id came from the client, in the header X-Request-Id.

    `gather_ms`: milliseconds for which its sample waited for others of its task.
    """

    request_id: str
    given: bool = False
    run: str | None = None
    error: str | None = None
    gather_ms: float | None = None
    sources: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, header: str | None) -> RequestFields:
        """Fields of a new request: with the id of its header if that is a valid one, else with a
        random one.
        """
        if header is not None and _REQUEST_ID.fullmatch(header):
            return cls(header, given=True)
        return cls(secrets.token_hex(16))

    def set_request(self, run: str, request_id: str | None) -> None:
        """Record the body's fields.

        Its id, stable across a client's retries, is used where the header had none.
        """
        self.run = run
        if request_id is not None and not self.given:
            self.request_id = request_id

    def to_dict(self) -> dict[str, object]:
        """As they are logged, without the empty ones."""
        found = {
            "run": self.run,
            "error": self.error,
            "samples": self.sources.total() + self.unscored.total(),
            "sources": dict(self.sources),
            "unscored": dict(self.unscored),
            "gather_ms": self.gather_ms,
        }
        return {name: value for name, value in found.items() if value}


_current: ContextVar[RequestFields | None] = ContextVar("request_fields", default=None)


def bind(fields: RequestFields) -> None:
    """Make these the current request's fields, for all that this task and the tasks it starts
    log.
    """
    _current.set(fields)


def current() -> RequestFields:
    """Fields of the request being served; outside of a request, fields that are never logged."""
    return _current.get() or RequestFields("")


def configure(form: Literal["text", "json"]) -> None:
    """Send all loggers to standard error in one format, those of libraries and of Python's
    warnings included.
    """
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": JsonLines if form == "json" else TextLines}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                name: {"level": "INFO"} for name in ("markbook", "uvicorn", "opentelemetry")
            },
        }
    )


class _Lines(logging.Formatter):
    """Logs the type and traceback of exceptions without their message, which may quote a sample."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None:
            parts.append(
                "".join([*traceback.format_tb(error.__traceback__), type(error).__qualname__])
            )
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nwhich came of:\n".join(parts)


class TextLines(_Lines):
    """`TIME LEVEL LOGGER: MESSAGE name=value …`, for people.

    Control characters are escaped: one event, one line.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = _get_fields(record)
        if (
            record.name == "uvicorn.error"
        ):  # its logger for all but requests; a copy, since other handlers read the record too
            record = copy(record)
            record.name = "uvicorn"
        line = " ".join(
            [
                super().formatMessage(record),
                *(f"{name}={_shown(value)}" for name, value in fields.items()),
            ]
        )
        return printable(line).replace("\n", "\\n")


class JsonLines(_Lines):
    """One JSON object per line, for machines. `time` is ISO 8601 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_get_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(
            line, default=str
        )  # in ASCII: some readers end a line at other characters than a line feed


def _get_fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, FIELDS, {})
    current = _current.get()
    return fields if current is None else {**fields, "request_id": current.request_id}


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{count}" for name, count in value.items())
    return str(value)
