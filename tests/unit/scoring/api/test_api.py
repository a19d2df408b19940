"""The routes with input of every kind: a clear answer, never a 5xx."""

from __future__ import annotations

import json

import pytest

from markbook.config.loading import ConfigError, parse_config
from markbook.config.settings import SERVICE_OWNED, Config
from markbook.contract import Counters, Stats
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.scoring.teachers import make_teacher

ENDS_OF_LINES = "\n\r\v\f\x00\x1b\x85\u2028\u2029"
GOOD = {"prompt": "Write f(x).", "language": "python", "code": "def f(x):\n    return x\n"}


async def post(http, content: bytes | str):
    return await http.post("/score", content=content, headers={"Content-Type": "application/json"})


def body(**changes) -> bytes:
    return json.dumps({"run": "demo", "samples": [{**GOOD, **changes}]}).encode()


@pytest.mark.parametrize(
    ("content", "field", "detail"),
    [
        (b"", None, "Invalid JSON"),
        (b"hello", None, "Invalid JSON"),
        (b"\xff\xfe", None, "Invalid JSON"),
        (b"[" * 100_000, None, "Invalid JSON"),
        (b"[]", None, "object"),
        (b"{}", "samples", "required"),
        (b'{"samples": null}', "samples", "valid list"),
        (b'{"samples": [1]}', "samples[0]", "valid dictionary"),
        (body(code=None), "samples[0].code", "string"),
        (body(code=5), "samples[0].code", "string"),
        (body(prompt=""), "samples[0].prompt", "at least 1 character"),
        (body(language=""), "samples[0].language", "at least 1 character"),
        (body(language=" \t"), "samples[0].language", "should match pattern"),
        *(
            (body(language=f"py{char}thon"), "samples[0].language", "should match pattern")
            for char in ENDS_OF_LINES
        ),
        (body(language="x" * 65), "samples[0].language", "at most 64 characters"),
        (body(extra=1), "samples[0].extra", "unknown field; known here: prompt, language, code"),
        (
            body(promt="x"),
            "samples[0].promt",
            "samples[0].promt: unknown field; did you mean prompt?",
        ),
        (b'{"samples": [], "runs": "x"}', "runs", "runs: unknown field; did you mean run?"),
        (
            b'{"samples": [{"promt": "x"}, {}]}',
            "samples[0].prompt",
            "samples[0].prompt: Field required; samples[0].language: Field required; "
            "samples[0].code: Field required; samples[0].promt: unknown field; did you mean "
            "prompt? (and 3 more)",
        ),
        (
            b'{"samples": [], "%s": 1}' % (b"x" * 1_000_000),
            "x" * 80,
            "unknown field; known here: run, request_id",
        ),
        (body(code="\ud800"), None, "halves of a pair"),
        (
            b'{"samples": [{%s}]}' % b",".join(b'"k%d": 1' % key for key in range(17)),
            None,
            "17 keys",
        ),
        (b'{"run": "a b", "samples": []}', "run", "pattern"),
        (b'{"run": "", "samples": []}', "run", "at least 1 character"),
        (b'{"run": "\\u0000", "samples": []}', "run", "pattern"),
        (b'{"request_id": "short", "samples": []}', "request_id", "at least 8"),
    ],
)
async def test_a_malformed_body_is_a_422_that_names_the_field(
    service, teacher, content, field, detail
):
    async with service() as http:
        answer = await post(http, content)
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_request"
    assert answer.json().get("field") == field
    assert detail in answer.json()["detail"]
    assert teacher.groups == []


async def test_an_empty_list_is_an_empty_answer(service):
    async with service() as http:
        answer = await post(http, b'{"samples": []}')
    assert (answer.status_code, answer.json()["results"]) == (200, [])


@pytest.mark.parametrize(
    ("language", "code", "source"),
    [
        ("klingon", "qapla' {{{", "teacher"),
        ("Python", GOOD["code"], "teacher"),
        ("python", "def f(x):\r\n    return x\r\n", "teacher"),
        ("python", "def f(x):\n    return '\0'\n", "heuristic"),
        ("text", "a NUL \0 in a language nobody parses", "teacher"),
        ("python", "def f(x):\n    return '\N{PILE OF POO} é \N{HANGUL SYLLABLE GA}'\n", "teacher"),
        ("python", "", "heuristic"),
    ],
)
async def test_unusual_samples_get_an_answer(service, language, code, source):
    async with service() as http:
        answer = await post(http, body(language=language, code=code))
        again = await post(http, body(language=language, code=code))
    assert answer.status_code == 200
    assert answer.json()["results"][0]["source"] == source
    assert again.json()["results"][0]["source"] == ("cache" if source == "teacher" else source)


async def test_samples_a_request_both_sides_of_the_limit(service):
    async with service({"service": {"max_samples_per_request": 3}}) as http:
        fits = await post(http, json.dumps({"samples": [GOOD] * 3}))
        over = await post(http, json.dumps({"samples": [GOOD] * 4}))
    assert fits.status_code == 200
    assert (over.status_code, over.json()["error"], over.json()["field"]) == (
        413,
        "payload_too_large",
        "samples",
    )
    assert "4 samples in one request; at most 3" in over.json()["detail"]


async def test_characters_a_sample_both_sides_of_the_limit(service):
    room = 100 - len(GOOD["prompt"])
    async with service({"service": {"max_sample_chars": 100}}) as http:
        fits = await post(http, body(code="x" * room))
        over = await post(http, body(code="x" * (room + 1)))
    assert fits.status_code == 200
    assert (over.status_code, over.json()["field"]) == (413, "samples[0]")
    assert "101 characters; at most 100" in over.json()["detail"]


async def test_tests_of_a_sample_both_sides_of_each_limit(service):
    limits = {"service": {"max_tests_per_sample": 2, "max_test_chars": 20}}
    async with service(limits) as http:

        async def answer(**keys):
            response = await post(http, body(**keys))
            return response.status_code, response.json().get("field")

        assert await answer(tests=["assert 1", "assert 2"], test_setup="x = 1") == (
            413,
            "samples[0].tests",
        )
        assert await answer(tests=["assert 1", "assert 2"], test_setup="x=1 ") == (200, None)
        assert await answer(tests=["a"] * 2) == (200, None)
        assert await answer(tests=["a"] * 3) == (413, "samples[0].tests")
        assert await answer(tests=[], test_setup="x" * 21) == (413, "samples[0].test_setup")
        assert await answer(tests=["a", " "]) == (422, "samples[0].tests[1]")
        assert await answer(tests="assert 1") == (422, "samples[0].tests")


async def test_bytes_a_body_both_sides_of_the_limit_declared_and_streamed(service):
    content = body()
    async with service({"service": {"max_body_bytes": len(content)}}) as http:

        async def stream(data: bytes):
            for start in range(0, len(data), 7):
                yield data[start : start + 7]

        json_body = {"Content-Type": "application/json"}
        twice = (content, content + b" ")
        answers = [await http.post("/score", content=data, headers=json_body) for data in twice]
        answers += [
            await http.post("/score", content=stream(data), headers=json_body) for data in twice
        ]
    assert [answer.status_code for answer in answers] == [200, 413, 200, 413]
    assert "service.max_body_bytes" in answers[3].json()["detail"]


async def test_the_default_limits():
    limits = Config().service
    assert (limits.max_samples_per_request, limits.max_sample_chars, limits.max_body_bytes) == (
        256,
        100_000,
        2**24,
    )


async def test_stats_of_an_empty_book(service):
    async with service() as http:
        stats = Stats.model_validate_json((await http.get("/stats")).content)
        one = (await http.get("/stats", params={"run": "nobody"})).json()
    assert (stats.totals, stats.runs, stats.cache.entries) == (Counters(), {}, 0)
    assert list(stats.policy) == list(SERVICE_OWNED)
    assert stats.teacher.is_stub is False
    assert one["runs"] == {"nobody": json.loads(Counters().model_dump_json())}


async def test_health_readiness_and_unknown_routes(service):
    async with service() as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        missing, wrong = await http.get("/nothing"), await http.get("/score")
        bad_run = await http.get("/stats", params={"run": "a b"})
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "http_error")
    assert (bad_run.status_code, bad_run.json()["field"]) == (422, "run")


async def test_openapi_describes_the_body_that_score_reads(service):
    async with service() as http:
        schema = (await http.get("/openapi.json")).json()
        assert (await http.get("/openapi.json")).json() == schema
    reference = schema["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]["$ref"]
    assert reference == "#/components/schemas/ScoreRequest"
    fields = set(schema["components"]["schemas"]["ScoreRequest"]["properties"])
    assert fields == {"run", "request_id", "timeout_s", "samples", "batch"}
    assert "Sample" in schema["components"]["schemas"]


async def test_openapi_describes_the_keys_and_the_refusals(service):
    async with service() as http:
        schema = (await http.get("/openapi.json")).json()
    score, health = schema["paths"]["/score"]["post"], schema["paths"]["/healthz"]["get"]
    assert {"401", "403", "413", "422", "429", "503"} <= set(score["responses"])
    assert "Retry-After" in score["responses"]["429"]["headers"]
    assert score["security"] == [{"key": []}, {}]
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "security" not in health
    assert "401" not in health["responses"]
    keyed = {
        path
        for path, methods in schema["paths"].items()
        if any("security" in each for each in methods.values())
    }
    assert set(schema["paths"]) - keyed == {"/healthz", "/readyz"}


def test_a_budget_in_dollars_needs_a_price():
    config = parse_config(
        {
            "teacher": {"name": "anthropic", "model": "unheard-of"},
            "budgets": {"total": {"usd": 1.0}},
        }
    )
    with pytest.raises(ConfigError, match=r"price of unheard-of is not known"):
        make_teacher(config, load_rubric())


def test_the_stand_in_refuses_a_rubric_whose_criteria_it_does_not_know():
    with pytest.raises(
        ConfigError, match=r"teacher\.rubric asks for style, but teacher\.name is static"
    ):
        make_teacher(Config(), Rubric("style: any", {"style": 1.0}))
