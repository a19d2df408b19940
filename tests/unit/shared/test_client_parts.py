"""The client: large requests in parts, and asking again for what came back unscored.

Against a scripted HTTP server.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable

import certifi
import pytest

from markbook.client import AsyncScoringClient, RequestRejectedError, RetryPolicy, connection
from markbook.config.settings import Service
from markbook.contract import (
    ErrorCode,
    ExtractedFrom,
    RequestUsage,
    SampleError,
    ScoreRequest,
    ScoreResponse,
    Unscored,
)
from tests.scripted import ScoredRequest, Time, both, echo, numbered, score, scored


@both
@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (256, [256]), (257, [256, 1]), (600, [256, 256, 88])]
)
def test_many_samples_are_several_requests_and_one_answer(script, ask, count, sizes):
    script.answer = echo
    answer = ask(script.url, numbered(count))
    assert [result.score for result in answer.results] == [number / 1000 for number in range(count)]
    parts = sorted(
        script.requests, key=lambda part: int(part.samples[0].code) if part.samples else 0
    )
    assert [len(part.samples) for part in parts] == sizes
    assert answer.usage == RequestUsage(
        teacher_calls=len(sizes), input_tokens=count, cost_usd=0.25 * len(sizes)
    )


def test_the_parts_of_one_request_have_ids_of_their_own_and_always_the_same(script):
    script.answer = echo
    request = numbered(300).model_copy(update={"request_id": "0123456789"})
    score(script.url, request)
    score(script.url, request)
    ids = [part.request_id for part in script.requests]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    assert set(ids[:2]) == set(ids[2:])


@pytest.mark.parametrize("limit", [300, 301, 302, 303, 304, 305, 400, 1000])
def test_no_body_is_over_the_limit(script, limit):
    script.answer = echo
    request = numbered(20, padding="é" * 10).model_copy(update={"request_id": "i" * 64})
    answer = score(script.url, request, limits=Service(max_body_bytes=limit))
    assert [result.score for result in answer.results] == [number / 1000 for number in range(20)]
    sizes = [len(body) for _, _, body in script.seen]
    assert max(sizes) <= limit
    assert (
        len(sizes) == 20 or max(sizes) > limit - 150
    )  # as few as fit: a sample has about 70 bytes


def test_a_sample_that_fits_nowhere_is_left_to_the_service_to_refuse(script):
    script.answers = [(413, {}, '{"error": "payload_too_large", "detail": "the body is larger"}')]
    with pytest.raises(RequestRejectedError, match="payload_too_large"):
        score(script.url, numbered(1, padding="é" * 1000), limits=Service(max_body_bytes=500))


@both
def test_parts_are_asked_for_at_the_same_time_but_not_too_many_and_may_end_in_any_order(
    script, ask
):
    pairs, lock = threading.Barrier(2), threading.Lock()
    running, most = 0, 0

    def in_pairs(request):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pairs.wait(30)  # a part alone would never be answered
        with lock:
            running -= 1
        return echo(request)

    script.answer = in_pairs
    answer = ask(
        script.url, numbered(8), limits=Service(max_samples_per_request=1), max_in_flight=2
    )
    assert [result.score for result in answer.results] == [number / 1000 for number in range(8)]
    assert most == 2


def test_one_part_that_is_refused_is_the_end_of_all(script):
    script.answer = lambda request: (
        (422, {}, '{"error": "invalid_request", "detail": "no"}')
        if request.samples[0].code == "2"
        else echo(request)
    )
    with pytest.raises(RequestRejectedError, match="no"):
        score(
            script.url,
            numbered(4),
            limits=Service(max_samples_per_request=1),
            retry_policy=RetryPolicy(60.0),
        )


def test_an_unknown_price_of_a_part_is_an_unknown_price_of_all(script):
    usage = RequestUsage(teacher_calls=1, cost_usd=None)
    unknown = ScoreResponse(results=[scored(0.0, "k")], usage=usage).model_dump_json()
    script.answers = [(200, {}, unknown)]
    script.answer = echo
    answer = score(script.url, numbered(2), limits=Service(max_samples_per_request=1))
    assert (answer.usage.teacher_calls, answer.usage.cost_usd) == (2, None)


def unscored_first(
    times: dict[str, int], retry_after_s: float | None
) -> Callable[[ScoreRequest], ScoredRequest]:
    """`times[code]`: how often that code comes back unscored."""

    def answer(request: ScoreRequest) -> ScoredRequest:
        status, headers, text = echo(request)
        response = ScoreResponse.model_validate_json(text)
        results = list(response.results)
        for place, sample in enumerate(request.samples):
            if times.get(sample.code, 0) > 0:
                times[sample.code] -= 1
                error = SampleError(
                    code=ErrorCode.TEACHER_UNAVAILABLE,
                    detail="overloaded",
                    retry_after_s=retry_after_s,
                )
                results[place] = Unscored(
                    error=error, extracted_from=ExtractedFrom.COMPLETION, key="k", profile=""
                )
        return status, headers, response.model_copy(update={"results": results}).model_dump_json()

    return answer


@both
def test_what_came_back_unscored_is_asked_for_again_only_where_that_was_said(script, ask):
    time = Time()
    script.answer = unscored_first({"1": 2, "3": 1}, 5.0)
    first = ask(script.url, numbered(4), retry_policy=time.retry_policy(0))
    assert [result.score for result in first.results] == [0.0, None, 0.002, None]
    assert (len(script.seen), time.pauses) == (1, [])
    script.answer = unscored_first({"1": 2, "3": 1}, 5.0)
    second = ask(script.url, numbered(4), rescore_s=60, retry_policy=time.retry_policy(0))
    assert [result.score for result in second.results] == [0.0, 0.001, 0.002, 0.003]
    again = script.requests[1:]
    assert [[sample.code for sample in part.samples] for part in again] == [
        ["0", "1", "2", "3"],
        ["1", "3"],
        ["1"],
    ]
    assert len({part.request_id for part in again}) == 3
    assert time.pauses == [5.0, 5.0]
    assert (second.usage.teacher_calls, second.usage.input_tokens) == (3, 7)


@both
@pytest.mark.parametrize(
    ("retry_after_s", "within_s", "asked"),
    [(10.0, 19.9, 2), (10.0, 20.0, 3), (None, 60.0, 1), (0.0, 0.9, 2)],
)
def test_asking_again_ends_in_time_and_where_waiting_does_not_help(
    script, ask, retry_after_s, within_s, asked
):
    time = Time()
    script.answer = unscored_first({"0": 99}, retry_after_s)
    answer = ask(script.url, numbered(2), rescore_s=within_s, retry_policy=time.retry_policy(0))
    assert [result.status for result in answer.results] == ["unscored", "scored"]
    assert len(script.seen) == asked


def test_clients_share_the_certificates_unless_the_environment_names_others(monkeypatch):
    made, make = [], ssl.create_default_context

    def counted(**files: str) -> ssl.SSLContext:
        made.append(files)
        return make(**files)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    connection._load_certificates.cache_clear()
    for url in ("http://127.0.0.1:9", "http://127.0.0.1:9", "https://scores.example"):
        AsyncScoringClient(url)
    assert made == [{"cafile": certifi.where()}]
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    AsyncScoringClient("http://127.0.0.1:9")  # on this machine the environment is not for it
    assert len(made) == 1
    AsyncScoringClient("https://scores.example")
    AsyncScoringClient("https://scores.example")
    assert len(made) == 2
