"""The client: what is sent, what is sent again, and which error each answer becomes.

Against a scripted HTTP server.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from markbook.client import (
    ClientError,
    RequestRejectedError,
    RetryPolicy,
    ScoringClient,
    ServiceUnavailableError,
)
from tests.processes import ROOT, clean_environment
from tests.scripted import AWAY, REQUEST, Time, both, echo, numbered, score


@both
def test_a_request_carries_its_key_and_an_id_of_its_own(script, ask):
    assert [result.score for result in ask(script.url + "/", api_key="secret").results] == [0.5]
    ask(script.url)
    (path, headers, body), (_, plain, other) = script.seen
    assert path == "/score"
    assert headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in plain
    first, second = json.loads(body), json.loads(other)
    assert first["request_id"] != second["request_id"]
    assert first["samples"] == [{"prompt": "p", "language": "python", "code": "\N{PILE OF POO}\0"}]


@both
def test_the_end_of_a_line_is_no_part_of_a_key(script, ask):
    ask(script.url, api_key="secret\r\n")
    assert script.seen[0][1]["Authorization"] == "Bearer secret"


@both
@pytest.mark.parametrize("key", ["mb_\N{HORIZONTAL ELLIPSIS}", "sec\rret", "sec\0ret"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(script, ask, key):
    with pytest.raises(ClientError, match="the API key contains control characters") as caught:
        ask(script.url, api_key=key)
    assert key not in str(caught.value)
    assert not isinstance(caught.value, ServiceUnavailableError)
    assert script.seen == []


def test_a_request_id_that_is_given_is_kept(script):
    score(script.url, REQUEST.model_copy(update={"request_id": "0123456789"}))
    assert script.requests[0].request_id == "0123456789"


@both
@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "2.5"}, 2.5),
        (503, {"Retry-After": "1"}, 1.0),
        (500, {}, None),
        (502, {"Retry-After": "Mon"}, None),
        (408, {}, None),
        (409, {}, None),
        (425, {"Retry-After": "3"}, 3.0),
        (522, {}, None),
    ],
)
def test_what_may_pass_may_be_sent_again(script, ask, status, headers, wait):
    script.answers = [(status, headers, AWAY[2])]
    with pytest.raises(ServiceUnavailableError, match="no database") as caught:
        ask(script.url)
    assert caught.value.retry_after_s == wait
    assert len(script.seen) == 1


@both
def test_it_is_sent_again_as_it_was_with_growing_pauses_and_the_one_that_was_asked_for(script, ask):
    time = Time()
    script.answers = [AWAY, AWAY, (429, {"Retry-After": "7"}, AWAY[2]), AWAY]
    ask(script.url, retry_policy=time.retry_policy(60))
    assert len({body for _, _, body in script.seen}) == 1
    assert len(script.seen) == 5
    assert time.pauses == [0.5, 1.0, 7.0, 4.0]


@both
def test_patience_ends_where_it_said(script, ask):
    time = Time()
    script.answers = [(503, {"Retry-After": "3600"}, AWAY[2]), AWAY]
    with pytest.raises(ServiceUnavailableError, match="no database"):
        ask(script.url, retry_policy=time.retry_policy(20))
    assert time.pauses == [20.0]
    assert len(script.seen) == 2


@both
def test_an_answer_that_does_not_come_is_asked_for_again_under_its_id(script, ask):
    time, ended = Time(), threading.Event()
    answer = script.answer

    def first_never(request):
        if len(script.seen) == 1:
            ended.wait(30)
        return answer(request)

    script.answer = first_never
    ask(script.url, retry_policy=time.retry_policy(60), timeout_s=0.5)
    ended.set()
    first, second = script.requests
    assert first == second


@both
@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 501, 505])
def test_what_will_not_pass_is_told_with_its_code_and_never_sent_again(script, ask, status):
    script.answers = [
        (status, {"Retry-After": "1"}, '{"error": "invalid_request", "detail": "samples: missing"}')
    ]
    with pytest.raises(RequestRejectedError, match="samples: missing") as caught:
        ask(script.url, retry_policy=RetryPolicy(60.0))
    assert (caught.value.status, caught.value.code) == (status, "invalid_request")
    assert len(script.seen) == 1


@both
@pytest.mark.parametrize(
    "answer", [(404, {}, "<html>not here</html>"), (200, {}, "<html>hello</html>"), (200, {}, "{}")]
)
def test_a_server_that_is_no_markbook_gives_no_marks(script, ask, answer):
    script.answers = [answer]
    with pytest.raises(RequestRejectedError):
        ask(script.url)


@both
def test_what_a_newer_service_says_besides_is_no_error(script, ask):
    newer = json.loads(echo(numbered(1))[2])
    newer["results"][0]["confidence"] = newer["version"] = "new"
    script.answers = [(200, {}, json.dumps(newer))]
    assert [result.score for result in ask(script.url, numbered(1)).results] == [0.0]
    script.answers = [(422, {}, '{"error": "invalid_request", "detail": "no", "hint": "new"}')]
    with pytest.raises(RequestRejectedError, match="invalid_request: no"):
        ask(script.url)


@both
@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000",
        "127.0.0.1:8000",
        "http://a:b:c",
        "http://",
        "ftp://a",
        "http://a:65536",
        "",
    ],
)
def test_what_is_no_address_is_said_at_once(ask, address):
    with pytest.raises(ClientError, match="is not a valid URL of a service") as caught:
        ask(address)
    assert not isinstance(caught.value, ServiceUnavailableError)


@both
def test_an_address_where_nobody_listens_is_named(ask):
    with pytest.raises(ServiceUnavailableError, match=r"http://127\.0\.0\.1:1 did not answer"):
        ask("http://127.0.0.1:1")


def test_patience_tells_what_it_waits_for_and_when_it_is_over(script):
    time, told = Time(), []
    script.answers = [AWAY, AWAY]
    with ScoringClient(script.url, retry_policy=time.retry_policy(0)) as client:
        client.with_retries(60, told.append).score_request(REQUEST)
        assert [str(failure) for failure in told[:2]] == [str(told[0])] * 2
        assert "no database" in str(told[0])
        assert told[2] is None
        script.answers = [AWAY]
        with pytest.raises(ServiceUnavailableError):
            client.score_request(REQUEST)  # itself it is as patient as it was


def test_a_client_that_is_closed_lets_all_who_wait_go(script):
    arrived, ended, outcome = threading.Event(), threading.Event(), []

    def never(_):
        arrived.set()
        ended.wait(30)
        return AWAY

    script.answer = never
    client = ScoringClient(script.url)

    def ask():
        try:
            client.score_request(REQUEST)
        except CancelledError as error:
            outcome.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    assert arrived.wait(30)
    client.close()
    client.close()
    waiting.join(30)
    ended.set()
    assert len(outcome) == 1


def test_ctrl_c_ends_a_call_at_once(script):
    arrived, ended = threading.Event(), threading.Event()

    def never(_):
        arrived.set()
        ended.wait(60)
        return AWAY

    script.answer = never
    program = (
        # whoever started the tests in the background has switched Ctrl-C off for all that they
        # start
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from markbook.client import ScoringClient; from tests.scripted import REQUEST\n"
        f"with ScoringClient({script.url!r}, timeout_s=600) as client: "
        "client.score_request(REQUEST)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert arrived.wait(60)
    process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    ended.set()
    assert process.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")


@both
def test_a_proxy_in_the_environment_is_not_for_a_service_on_this_machine(script, ask, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for url in (script.url, script.url.replace("127.0.0.1", "localhost")):
        assert [result.score for result in ask(url).results] == [0.5]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, script.url)
    ask("http://markbook.invalid")
    assert script.seen[-1][0] == "http://markbook.invalid/score"  # the world is reached through it
