"""The shapes of other trainers: their own texts in, marks out, and an error in the place of a
missing mark.
"""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.api import auth
from markbook.scoring.api.reward_routes import without_end_tokens
from markbook.scoring.store import Store
from markbook.scoring.types import ScoringFailure
from tests.fakes import true_score
from tests.unit.scoring.api.test_keys import api_key

TASK = "Write f(x)."
PROMPT = (
    "<|im_start|>system\nBe "
    f"brief.<|im_end|>\n<|im_start|>user\n{TASK}<|im_end|>\n<|im_start|>assistant\n"
)
GOOD, OTHER = "def f(x):\n    return x\n", "def f(x):\n    return 2 * x\n"
SPOKEN = {"language": "python"}
BUSY = ScoringFailure(ErrorCode.TEACHER_UNAVAILABLE, "overloaded", 7.2)
REFUSED = ScoringFailure(ErrorCode.TEACHER_REFUSED, "not this one")


def rewards(*codes: str, prompt: str = PROMPT, **more: object) -> dict[str, object]:
    return {"query": [prompt + code for code in codes], "prompts": [prompt] * len(codes), **more}


def row(code: str = GOOD, **more: object) -> dict[str, object]:
    said = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": code}],
    }
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": TASK, "type": "message"},
    ]
    return {
        "responses_create_params": {"input": asked},
        "response": {"id": "r", "output": [said]},
        **more,
    }


async def test_rewards_come_in_order_and_know_where_they_are_from(service, teacher):
    async with service() as http:
        await http.post("/get_reward", params=SPOKEN, json=rewards(GOOD))
        answer = await http.post("/get_reward", params=SPOKEN, json=rewards(OTHER, "", GOOD))
    scores = answer.json()["rewards"]
    assert scores[::2] == pytest.approx([true_score(OTHER), true_score(GOOD)])
    assert scores[1] <= 0.05  # rejected by the heuristic tier: a real mark
    assert answer.json()["scores"] == scores
    assert answer.json()["extra_logs"] == {
        "markbook_cached": [0.0, 0.0, 1.0],
        "markbook_heuristic": [0.0, 1.0, 0.0],
    }
    assert teacher.codes == [GOOD, OTHER]


async def test_a_label_that_is_an_object_tells_the_bare_task_and_its_language(service, teacher):
    labels = [
        json.dumps({"prompt": TASK, "language": "klingon"}),
        {"prompt": TASK},
        "42",
        None,
        "{no json",
        "[1]",
    ]
    async with service() as http:
        answer = await http.post(
            "/get_reward", params=SPOKEN, json=rewards(*[GOOD] * 6, labels=labels)
        )
    assert answer.status_code == 200
    asked = {(group.task, group.language) for group in teacher.groups}
    assert asked == {(TASK, "klingon"), (TASK, "python"), (PROMPT[:200], "python")}


async def test_the_run_of_the_address_is_counted_and_must_be_the_keys(
    service, database_url, monkeypatch
):
    monkeypatch.setattr(auth, "KEY_CACHE_TTL_S", 0.0)
    store = Store(database_url, 10_000)
    store.migrate()
    await store.keys.add(api_key("ann", "mb_ann", "team-a/*"))
    await store.close()
    by_address = {"Authorization": "Basic " + base64.b64encode(b"anything:mb_ann").decode()}
    mine, theirs = SPOKEN | {"run": "team-a/1"}, SPOKEN | {"run": "team-b/1"}
    async with service(database_url=database_url) as http:
        nobody = await http.post("/get_reward", params=mine, json=rewards(GOOD))
        wrong = await http.post(
            "/verify", params=mine, json=row(), headers={"Authorization": "Basic bWJfYW5u"}
        )
        refused = await http.post(
            "/get_reward", params=theirs, json=rewards(GOOD), headers=by_address
        )
        inside = row(verifier_metadata={"run": "team-b/1"})
        refused_too = await http.post("/verify", params=mine, json=inside, headers=by_address)
        done = await http.post("/get_reward", params=mine, json=rewards(GOOD), headers=by_address)
        stats = (await http.get("/stats", headers={"Authorization": "Bearer mb_ann"})).json()
    assert [answer.status_code for answer in (nobody, wrong, refused, refused_too, done)] == [
        401,
        401,
        403,
        403,
        200,
    ]
    assert {run: counts["samples"] for run, counts in stats["runs"].items()} == {"team-a/1": 1}


@pytest.mark.parametrize(
    ("failures", "status", "retry_after", "says"),
    [
        ({GOOD: BUSY}, 503, "8", "1 of 2 samples have no mark: teacher_unavailable: overloaded"),
        ({GOOD: REFUSED}, 424, None, "1 of 2 samples have no mark: teacher_refused: not this one"),
        (
            {OTHER: BUSY, GOOD: REFUSED},
            424,
            None,
            "2 of 2 samples have no mark: teacher_refused: not this one",
        ),
    ],
)
async def test_a_missing_mark_is_an_error_and_the_marks_that_came_are_kept(
    service, teacher, failures, status, retry_after, says
):
    teacher.failures = failures
    async with service() as http:
        answer = await http.post("/get_reward", params=SPOKEN, json=rewards(OTHER, GOOD))
        verified = await http.post("/verify", params=SPOKEN, json=row())
        teacher.failures = {}
        again = await http.post("/get_reward", params=SPOKEN, json=rewards(OTHER, GOOD))
    assert (answer.status_code, verified.status_code) == (status, status)
    assert answer.json()["error"] == "unscored"
    assert answer.json()["detail"] == says
    assert answer.headers.get("retry-after") == retry_after
    assert not {"rewards", "scores", "reward"} & (answer.json().keys() | verified.json().keys())
    assert again.json()["rewards"] == pytest.approx([true_score(OTHER), true_score(GOOD)])
    assert again.json()["extra_logs"]["markbook_cached"] == [float(OTHER not in failures), 0.0]


async def test_a_deadline_that_passes_is_an_error_too(service, teacher):
    teacher.gate = asyncio.Event()
    async with service() as http:
        answer = await http.post("/verify", params=SPOKEN | {"timeout_s": 0.01}, json=row())
        teacher.gate.set()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "deadline" in answer.json()["detail"]


async def test_a_verified_row_comes_back_whole_with_its_reward(service, teacher):
    sent = row(verifier_metadata={"language": "python", "unit_tests": [1]}, task_index=3)
    async with service() as http:
        answer = await http.post("/verify", json=sent)
    reply = answer.json()
    mark = reply.pop("markbook")
    assert reply.pop("reward") == mark["score"] == pytest.approx(true_score(GOOD))
    assert mark["source"] == "teacher"
    assert reply == sent
    [group] = teacher.groups
    assert (group.task, group.language, group.codes) == (TASK, "python", (GOOD,))


async def test_what_the_user_said_and_all_text_of_the_answer(service, teacher):
    thinking = {
        "type": "reasoning",
        "id": "t",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
    }
    call = {"type": "function_call", "name": "run", "arguments": "{}", "call_id": "c"}
    texts = [{"type": "output_text", "text": part} for part in (GOOD[:9], GOOD[9:])]
    said = [{"type": "message", "role": "assistant", "content": [part]} for part in texts]
    parts = [{"type": "input_text", "text": "Write "}, {"type": "input_text", "text": "f(x)."}]
    asked = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "How?"},
        {"role": "user", "content": "So."},
    ]
    body = {
        "responses_create_params": {"input": asked},
        "response": {"output": [thinking, said[0], call, said[1]]},
    }
    plain = {**row(), "responses_create_params": {"input": TASK}}
    async with service() as http:
        answers = [await http.post("/verify", params=SPOKEN, json=each) for each in (body, plain)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [(group.task, group.codes) for group in teacher.groups] == [
        (f"{TASK}\n\nSo.", (GOOD,)),
        (TASK, (GOOD,)),
    ]


@pytest.mark.parametrize(
    ("path", "body", "field", "detail"),
    [
        ("/get_reward", {}, "query", "required"),
        ("/get_reward", {"query": "text", "prompts": []}, "query", "valid list"),
        ("/get_reward", {"query": [1] * 9, "prompts": []}, "query[0]", "valid string"),
        ("/get_reward", {"query": ["x"], "prompts": [""]}, "prompts[0]", "at least 1 character"),
        ("/get_reward", {"query": ["x"], "prompts": []}, "query", "1 query, 0 prompts, 1 labels"),
        (
            "/get_reward",
            {"query": ["other"], "prompts": ["Write"]},
            "query[0]",
            "does not hold prompts[0]",
        ),
        (
            "/get_reward",
            rewards(GOOD, labels=[{"language": 5}]),
            "labels[0]",
            "labels[0].language: Input should be",
        ),
        ("/get_reward?language=", rewards(GOOD), "language", "at least 1 character"),
        ("/get_reward?run=a+b&language=python", rewards(GOOD), "run", "pattern"),
        ("/get_reward?timeout_s=0", rewards(GOOD), "timeout_s", "greater than 0"),
        ("/get_reward", rewards(GOOD), "language", "?language=python"),
        ("/verify", {}, "responses_create_params", "required"),
        ("/verify", row(response={"output": [1]}), "response.output[0]", "valid dictionary"),
        ("/verify", row(), "language", "verifier_metadata.language"),
        (
            "/verify",
            row(verifier_metadata={"language": 5}),
            "verifier_metadata.language",
            "valid string",
        ),
        (
            "/verify",
            {**row(), "responses_create_params": {"input": []}},
            "responses_create_params.input",
            "no text",
        ),
    ],
)
async def test_what_cannot_be_read_is_a_422_that_names_the_field(
    service, teacher, path, body, field, detail
):
    async with service() as http:
        answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (
        422,
        "invalid_request",
        field,
    )
    assert detail in answer.json()["detail"]
    assert teacher.groups == []


async def test_the_services_limits_hold_here_too(service):
    size = len(PROMPT) + len(GOOD)
    for limit, bodies in {
        "max_samples_per_request": (1, rewards(GOOD), rewards(GOOD, OTHER)),
        "max_sample_chars": (size, rewards(GOOD), rewards(GOOD + " ")),
    }.items():
        value, fits, over = bodies
        async with service({"service": {limit: value}}) as http:
            answers = [
                await http.post("/get_reward", params=SPOKEN, json=each) for each in (fits, over)
            ]
        assert [answer.status_code for answer in answers] == [200, 413]
        assert f"service.{limit}" in answers[1].json()["detail"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("```\nx\n```<|im_end|>", "```\nx\n```"),
        ("x</s>", "x"),
        ("x<|eot_id|>\n<|end_of_text|>\n", "x"),
        ("x<｜end▁of▁sentence｜>", "x"),
        ("x <|im_end|> y", "x <|im_end|> y"),
        ("a <| b |>", "a <| b |>"),
        ("x\n", "x\n"),
        ("", ""),
        ("x" + "</s>" * 20_000, "x"),
    ],
)
def test_special_tokens_go_from_the_end_and_from_nowhere_else(text, kept):
    assert without_end_tokens(text) == kept


@pytest.mark.parametrize(
    ("number", "why"),
    [("NaN", "Invalid JSON"), ("-Infinity", "Invalid JSON"), ("1e999", "JSON cannot hold")],
)
async def test_a_number_that_json_does_not_have_is_refused_before_anybody_is_asked(
    service, teacher, number, why
):
    text = json.dumps(row(temperature=0.5)).replace("0.5", number)
    async with service() as http:
        answer = await http.post(
            "/verify", params=SPOKEN, content=text, headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, why in answer.json()["detail"]) == (422, True)
    assert teacher.groups == []


async def test_tests_decide_here_too(service, teacher):
    tests = ["assert add(1, 2) == 3"]
    wrong, right = (f"def add(a, b):\n    return a {sign} b\n" for sign in "*+")
    labels = [json.dumps({"language": "python", "tests": tests})] * 2
    async with service() as http:
        sent = {
            "query": [PROMPT + wrong, PROMPT + right],
            "prompts": [PROMPT] * 2,
            "labels": labels,
        }
        rewarded = (await http.post("/get_reward", json=sent)).json()
        verified = await http.post(
            "/verify", json=row(wrong, verifier_metadata={"language": "python", "tests": tests})
        )
    assert rewarded["rewards"][0] == pytest.approx(0.05)
    assert rewarded["rewards"][1] > 0.3
    assert verified.json()["markbook"]["tests"]["passed"] == 0
    assert len(teacher.groups) == 1
