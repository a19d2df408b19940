"""The log: one line an event, as text or as JSON, with the id of the request it belongs to, and never code or a key.

What a request was about is gathered in its Facts while it is served, and told in one line at its end.
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
"""The logger of the lines that tell of requests."""
FACTS = "facts"
"""The attribute of a log record that holds what is more than its message."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True)
class RequestFields:
    """What is told of one request. `given`: the id came from the client, in the header X-Request-Id."""

    request_id: str
    given: bool = False
    run: str | None = None
    error: str | None = None
    sources: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, header: str | None) -> RequestFields:
        """Those of a new request, under the id that its header gives if it is one, else under a new one."""
        if header is not None and _REQUEST_ID.fullmatch(header):
            return cls(header, given=True)
        return cls(secrets.token_hex(16))

    def asked(self, run: str, request_id: str | None) -> None:
        """The body has come. Its id, which the client repeats when it sends the request again, is the second choice."""
        self.run = run
        if request_id is not None and not self.given:
            self.request_id = request_id

    def told(self) -> dict[str, object]:
        """As a log line has them, without what there is nothing to say of."""
        found = {
            "run": self.run,
            "error": self.error,
            "samples": self.sources.total() + self.unscored.total(),
            "sources": dict(self.sources),
            "unscored": dict(self.unscored),
        }
        return {name: value for name, value in found.items() if value}


_current: ContextVar[RequestFields | None] = ContextVar("facts", default=None)


def begin(facts: RequestFields) -> None:
    """From here on, whatever is logged in this task and those it starts belongs to this request."""
    _current.set(facts)


def facts() -> RequestFields:
    """Those of the request being served. Outside of one, some that nobody reads."""
    return _current.get() or RequestFields("")


def configure(form: Literal["text", "json"]) -> None:
    """All loggers to standard error, in one form: of libraries, of asyncio and of Python's warnings, too."""
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": JsonLines if form == "json" else TextLines}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {name: {"level": "INFO"} for name in ("markbook", "uvicorn", "opentelemetry")},
        }
    )


class _Lines(logging.Formatter):
    """What an exception says is left out, its type and place are not: it may quote a sample."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None:
            parts.append("".join([*traceback.format_tb(error.__traceback__), type(error).__qualname__]))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nwhich came of:\n".join(parts)


class TextLines(_Lines):
    """`TIME LEVEL LOGGER: MESSAGE name=value …`, for people: what of it is foreign cannot end the line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        told = _facts_of(record)
        if record.name == "uvicorn.error":  # where it logs all that is no request; a copy: others read the record, too
            record = copy(record)
            record.name = "uvicorn"
        line = " ".join([super().formatMessage(record), *(f"{name}={_shown(value)}" for name, value in told.items())])
        return printable(line).replace("\n", "\\n")


class JsonLines(_Lines):
    """An object a line, for machines. `time` is ISO 8601 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # in ASCII: some readers end a line at other characters than a line feed


def _facts_of(record: logging.LogRecord) -> Mapping[str, object]:
    told: Mapping[str, object] = getattr(record, FACTS, {})
    current = _current.get()
    return told if current is None else {**told, "request_id": current.request_id}


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{count}" for name, count in value.items())
    return str(value)
