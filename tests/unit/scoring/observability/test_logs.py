"""The log: a line a request with its id, and neither code nor task nor key in it, whatever goes
wrong.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from markbook.config.settings import Budget
from markbook.contract import ErrorCode
from markbook.scoring.api import auth
from markbook.scoring.api.auth import hash_secret
from markbook.scoring.errors import StoreUnavailableError, TeacherError
from markbook.scoring.observability import logs
from markbook.scoring.store import ApiKey, Store
from markbook.scoring.store.database import Database
from markbook.scoring.types import ScoringFailure

CANARY = "canary7f3a"
CODE = f"def add(a, b):\n    return a + b  # {CANARY}\n"
SAMPLE = {"prompt": f"Write add(a, b). {CANARY}", "language": "python", "code": CODE}
KEY = f"mb_{CANARY}"

Lines = Callable[[], list[str]]


@pytest.fixture(params=["text", "json"])
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def lines(form: str) -> Iterator[Lines]:
    """All that any logger says from DEBUG on, as the service would write it."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith("http"):  # the tests' own client
                said.append(self.format(record))

    keep = Keep(logging.DEBUG)
    keep.setFormatter(logs.JsonLines() if form == "json" else logs.TextLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield lambda: said
    root.removeHandler(keep)
    root.setLevel(level)


def requests(said: list[str]) -> list[dict[str, object]]:
    return [line for line in map(json.loads, said) if line["logger"] == logs.REQUESTS]


@pytest.mark.parametrize("form", ["json"], indirect=True)
async def test_a_request_is_a_line_with_its_facts(service, lines):
    async with service() as http:
        bodies = [[SAMPLE, SAMPLE], [{**SAMPLE, "code": "def f(:"}]]
        answers = [
            await http.post("/score", json={"run": "demo", "samples": samples})
            for samples in bodies
        ]
        await http.get("/nothing")
    first, second, missing = requests(lines())
    assert (first["method"], first["route"], first["status"], first["run"]) == (
        "POST",
        "/score",
        200,
        "demo",
    )
    assert (first["samples"], first["sources"]) == (2, {"teacher": 1, "coalesced": 1})
    assert second["sources"] == {"heuristic": 1}
    assert "unscored" not in first
    assert isinstance(first["ms"], float)
    assert first["request_id"] == answers[0].headers["x-request-id"]
    assert first["request_id"] != second["request_id"]
    assert (missing["route"], missing["status"], missing["error"]) == ("none", 404, "not_found")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(first["time"]))
    assert first["level"] == "info"


@pytest.mark.parametrize("form", ["text"], indirect=True)
async def test_for_people_the_facts_follow_the_message(service, lines):
    async with service() as http:
        await http.post(
            "/score", json={"run": "demo", "samples": [SAMPLE]}, headers={"X-Request-Id": "mine-1"}
        )
    [line] = [line for line in lines() if logs.REQUESTS in line]
    assert re.search(
        r"INFO markbook.requests: request method=POST route=/score status=200 ms=[\d.]+ run=demo "
        r"samples=1 "
        r"sources=teacher:1 gather_ms=[\d.]+ request_id=mine-1$",
        line,
    )


@pytest.mark.parametrize("form", ["json"], indirect=True)
@pytest.mark.parametrize(
    ("header", "body", "used"),
    [
        ("from-header", None, "from-header"),
        ("from-header", "from-body", "from-header"),
        (None, "from-body", "from-body"),
        ("with space", "from-body", "from-body"),
        ("x" * 129, None, None),
        (None, None, None),
    ],
)
async def test_the_id_is_the_header_s_else_the_body_s_else_made(service, lines, header, body, used):
    headers = {"X-Request-Id": header} if header else {}
    async with service() as http:
        answer = await http.post(
            "/score", json={"request_id": body, "samples": [SAMPLE]}, headers=headers
        )
    [line] = requests(lines())
    assert line["request_id"] == answer.headers["x-request-id"]
    if used is None:
        assert re.fullmatch(r"[0-9a-f]{32}", str(line["request_id"]))
    else:
        assert line["request_id"] == used


@pytest.mark.parametrize("form", ["json"], indirect=True)
async def test_probes_are_quiet_unless_something_is_wrong(service, lines, monkeypatch):
    async with service() as http:
        for path in ("/healthz", "/readyz", "/metrics", "/stats"):
            assert (await http.get(path)).status_code == 200
    levels = {line["route"]: line["level"] for line in requests(lines())}
    assert levels == {
        "/healthz": "debug",
        "/readyz": "debug",
        "/metrics": "debug",
        "/stats": "info",
    }


async def test_no_code_no_task_and_no_key_is_in_any_line_whatever_goes_wrong(
    service, teacher, lines, form, monkeypatch, database_url
):
    monkeypatch.setattr(auth, "KEY_CACHE_TTL_S", 0.0)
    store = Store(database_url, 10_000)
    store.migrate()
    await store.keys.add(ApiKey("ann", hash_secret(KEY), "a/*", Budget(), 1))
    await store.close()
    headers = {"Authorization": f"Bearer {KEY}"}

    def body(**changes: object) -> str:
        return json.dumps({"run": "a/1", "samples": [{**SAMPLE, **changes}]})

    quoted = f"the teacher's reply has a line of another form: {CODE!r}"
    settings = {"rlaif": {"heuristic_audit_rate": 1.0}, "service": {"max_sample_chars": 1000}}
    async with service(settings, database_url=database_url) as http:

        async def ask(content: str, status: int, **more: str) -> None:
            answer = await http.post(
                "/score",
                content=content,
                headers={"Content-Type": "application/json", **headers, **more},
            )
            assert answer.status_code == status, answer.text

        await ask(body(), 200)
        await ask(body(), 200)
        await ask(body(code=f"def {CANARY}(:"), 200)  # rejected, and audited
        await ask(f'{{"samples": "{CANARY}"', 422)
        await ask(f'{{"{CANARY}": 1}}', 422)
        await ask(f'{{"run": "{CANARY} x", "samples": []}}', 422)
        await ask(body(language=[CANARY]), 422)
        await ask(body(code=CODE * 100), 413)
        await ask(body(), 401, Authorization=f"Bearer wrong{CANARY}")
        await ask(body(), 401, Authorization=f"Basic {CANARY}")
        assert (
            await http.get("/stats", params={"run": f"a b {CANARY}"}, headers=headers)
        ).status_code == 422
        assert (await http.get(f"/{CANARY}", headers=headers)).status_code == 404
        assert (
            await http.get("/marks", params={"key": CANARY}, headers=headers)
        ).status_code == 422
        teacher.error = TeacherError(ErrorCode.REPLY_UNREADABLE, quoted)
        await ask(body(code=f"{CODE}# 2"), 200)
        await ask(body(code=f"def {CANARY}2(:"), 200)  # its audit fails, and is told of
        teacher.error = None
        teacher.failures[f"{CODE}# 3"] = ScoringFailure(ErrorCode.TEACHER_REJECTED, quoted)
        await ask(body(code=f"{CODE}# 3"), 200)
        teacher.error = RuntimeError(quoted)  # a defect, whose message holds a sample
        await ask(body(code=f"{CODE}# 4"), 500)
    said = lines()
    assert len([line for line in said if logs.REQUESTS in line]) == 17
    assert any("will retry: reply_unreadable" in line for line in said)
    assert not [line for line in said if CANARY in line]


def test_what_an_exception_says_is_left_out_and_its_place_is_not(form):
    formatter = logs.JsonLines() if form == "json" else logs.TextLines()
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(CODE) from error
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f.py", 1, "it failed", (), (ValueError, error, None)
        )
    line = formatter.format(record)
    assert CANARY not in line
    assert "ValueError" in line
    assert "KeyError" in line
    assert "test_logs.py" in line
    assert len(line.splitlines()) == 1 or form == "text"


async def test_an_error_of_the_database_quotes_no_sample(database_url):
    insert = text("INSERT INTO missing VALUES (:code)")
    database = Database(database_url)
    with pytest.raises((DBAPIError, StoreUnavailableError)) as caught:
        await database.write(lambda connection: connection.execute(insert, {"code": CODE}))
    await database.close()
    said = f"{caught.value} {caught.value.__cause__}"
    assert "missing" in said
    assert CANARY not in said


def test_what_uvicorn_says_does_not_look_like_an_error():
    record = logging.LogRecord(
        "uvicorn.error", logging.INFO, __file__, 1, "Started server process", None, None
    )
    assert logs.TextLines().format(record).endswith("INFO uvicorn: Started server process")
    assert record.name == "uvicorn.error"  # as other handlers have it


@pytest.mark.parametrize("form", ["json"])
def test_every_logger_speaks_the_one_form(form, capsys):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.configure(form)
        logging.getLogger("asyncio").error("from the event loop\u2028%s", "x")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit("from Python", UserWarning, "f.py", 1)
        logging.getLogger("markbook").info("from the service")
        logging.getLogger("some.library").info("too quiet to be told")
        said = capsys.readouterr().err
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in said.splitlines()]  # splitlines: also at U+2028
    assert [line["logger"] for line in lines] == ["asyncio", "py.warnings", "markbook"]
    assert lines[0]["message"] == "from the event loop\u2028x"
