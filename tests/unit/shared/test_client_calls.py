"""Scoring one sample, many, and in the background, with both clients, against real HTTP servers."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from markbook.client import (
    AsyncScoringClient,
    ClientError,
    InvalidRequestError,
    RequestRejectedError,
    RetryPolicy,
    ScoringClient,
)
from markbook.client.connection import resolve_url
from markbook.config.loading import parse_config
from markbook.config.settings import Service
from markbook.contract import Metric, Sample, Scored, Unscored
from tests.fakes import RecordingTeacher
from tests.scripted import echo, halves, numbered
from tests.served import served
from tests.unit.trainer.stub import StubService, unscored

ADD = {
    "prompt": "Write add(a, b).",
    "language": "python",
    "code": "def add(a, b):\n    return a + b",
}


def in_thread(url, method, *arguments, options=None, **keywords):
    with ScoringClient(url, retry_policy=RetryPolicy(0.0), **(options or {})) as client:
        return getattr(client, method)(*arguments, **keywords)


def in_loop(url, method, *arguments, options=None, **keywords):
    async def call():
        async with AsyncScoringClient(
            url, retry_policy=RetryPolicy(0.0), **(options or {})
        ) as client:
            return await getattr(client, method)(*arguments, **keywords)

    return asyncio.run(call())


def submitted(url, method, *arguments, options=None, **keywords):
    assert method == "score_many"
    with ScoringClient(url, retry_policy=RetryPolicy(0.0), **(options or {})) as client:
        return client.submit(*arguments, **keywords).result(30)


both = pytest.mark.parametrize("call", [in_thread, in_loop], ids=["sync", "async"])
every = pytest.mark.parametrize(
    "call", [in_thread, in_loop, submitted], ids=["sync", "async", "submit"]
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    monkeypatch.delenv("MARKBOOK_URL", raising=False)
    monkeypatch.delenv("MARKBOOK_API_KEY", raising=False)


@both
def test_one_sample_gives_one_result(script, call):
    result = call(
        script.url,
        "score",
        **ADD,
        tests=("assert add(1, 2) == 3",),
        test_setup="import re",
        run="mine",
    )
    assert isinstance(result, Scored)
    assert result.score == 0.5
    [request] = script.requests
    assert request.run == "mine"
    assert request.samples == [
        Sample(**ADD, tests=["assert add(1, 2) == 3"], test_setup="import re")
    ]


@both
def test_one_sample_is_scored_by_the_real_service(call, tmp_path):
    config = parse_config({"store": {"database_url": f"sqlite:///{tmp_path / 'scores.db'}"}})
    with served(config, RecordingTeacher()) as url:
        assert call(url, "score", **ADD).status == "scored"
        first, second = call(url, "score_many", [ADD, Sample(**ADD)])
    assert first.score == second.score


@every
def test_many_samples_keep_their_order_over_several_requests(script, call):
    script.answer = echo
    results = call(
        script.url, "score_many", (sample for sample in numbered(600).samples), run="mine"
    )
    assert [result.score for result in results] == [number / 1000 for number in range(600)]
    assert sorted(len(part.samples) for part in script.requests) == [88, 256, 256]
    assert {part.run for part in script.requests} == {"mine"}


@every
def test_the_services_own_limits_split_a_call(script, call):
    script.answer = echo
    options = {"limits": Service(max_samples_per_request=2), "max_in_flight": 1}
    results = call(
        script.url, "score_many", [dict(sample) for sample in numbered(5).samples], options=options
    )
    assert [result.score for result in results] == [number / 1000 for number in range(5)]
    assert [[sample.code for sample in part.samples] for part in script.requests] == [
        ["0", "1"],
        ["2", "3"],
        ["4"],
    ]


@every
def test_a_request_id_and_a_deadline_reach_the_service(script, call):
    call(script.url, "score_many", [ADD], request_id="0123456789", timeout_s=5)
    assert (script.requests[0].request_id, script.requests[0].timeout_s) == ("0123456789", 5.0)


@both
def test_a_sample_without_a_score_is_typed_and_raises_nothing(call):
    with StubService(lambda _: unscored()) as service:
        result = call(service.url, "score", **ADD)
    assert isinstance(result, Unscored)
    assert result.score is None
    assert result.error.code == "teacher_unavailable"


@every
@pytest.mark.parametrize(
    ("samples", "keywords", "message"),
    [
        ([ADD, ADD | {"prompt": ""}], {}, r"^samples\[1\]\.prompt: .*at least 1 character$"),
        ([{"prompt": "p", "code": "secret"}], {}, r"^samples\[0\]\.language: Field required$"),
        (
            [ADD | {"lang": "secret"}],
            {},
            r"^samples\[0\]\.lang: unknown; a sample has prompt, language, code, tests",
        ),
        ([ADD | {"tests": "assert 1"}], {}, r"^samples\[0\]\.tests: .*valid list$"),
        ([ADD], {"run": "two words"}, r"^run: "),
        (["secret"], {}, r"^samples\[0\]: "),
    ],
)
def test_what_cannot_be_sent_is_named_in_one_line(script, call, samples, keywords, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        call(script.url, "score_many", samples, **keywords)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert script.seen == []


@both
def test_one_text_is_no_list_of_tests(script, call):
    with pytest.raises(InvalidRequestError, match="tests"):
        call(script.url, "score", **ADD, tests="assert add(1, 2) == 3")
    assert script.seen == []


@every
def test_an_answer_with_too_few_results_gives_no_score_to_anybody(script, call):
    script.answer = lambda request: halves(
        request.model_copy(update={"samples": request.samples[1:]})
    )
    with pytest.raises(RequestRejectedError, match="1 results for 2 samples"):
        call(script.url, "score_many", [ADD, ADD])


@both
def test_address_and_key_come_from_the_environment_where_they_are_not_given(
    script, call, monkeypatch
):
    monkeypatch.setenv("MARKBOOK_URL", script.url + "/")
    monkeypatch.setenv("MARKBOOK_API_KEY", "of the environment\n")
    call(None, "score", **ADD)
    assert script.seen[0][1]["Authorization"] == "Bearer of the environment"
    monkeypatch.setenv("MARKBOOK_URL", "http://127.0.0.1:1")
    call(script.url, "score", **ADD, options={"api_key": "given"})
    assert script.seen[1][1]["Authorization"] == "Bearer given"
    call(script.url, "score", **ADD, options={"api_key": ""})
    assert "Authorization" not in script.seen[2][1]


@pytest.mark.parametrize("value", [None, ""])
async def test_without_an_address_it_is_the_services_default(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("MARKBOOK_URL", value)
    async with AsyncScoringClient() as client:
        assert client.base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("name", "value"), [("MARKBOOK_URL", "ftp://h"), ("MARKBOOK_API_KEY", "a\nb")]
)
def test_a_variable_that_cannot_be_used_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ClientError, match=name):
        ScoringClient()


async def test_a_cancelled_call_leaves_nothing_behind_and_the_client_goes_on(script):
    arrived, ended = threading.Event(), threading.Event()

    def never(request):
        arrived.set()
        ended.wait(30)
        return halves(request)

    script.answer = never
    options = {"limits": Service(max_samples_per_request=1), "max_in_flight": 2}
    async with AsyncScoringClient(script.url, **options) as client:
        call = asyncio.create_task(client.score_many([ADD] * 4))
        assert await asyncio.to_thread(arrived.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert asyncio.all_tasks() == {asyncio.current_task()}
        ended.set()
        script.answer = halves
        assert len(await client.score_many([ADD] * 2)) == 2  # both slots are free again


def test_closing_cancels_what_was_submitted_and_leaves_no_thread(script):
    arrived, ended = threading.Event(), threading.Event()

    def never(request):
        arrived.set()
        ended.wait(30)
        return halves(request)

    script.answer = never
    client = ScoringClient(script.url)
    thread = client._background._thread
    future = client.submit([ADD])
    assert arrived.wait(30)
    client.close()
    ended.set()
    with pytest.raises(CancelledError):
        future.result(30)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="this client is closed"):
        client.submit([ADD])
    with pytest.raises(RuntimeError, match="this client is closed"):
        client.score(**ADD)


def test_groups_are_scored_at_the_same_time_without_a_thread_for_each(script):
    together = threading.Barrier(4)

    def all_at_once(request):
        together.wait(30)
        return echo(request)

    script.answer = all_at_once
    with ScoringClient(script.url) as client:
        futures = [client.submit([sample]) for sample in numbered(4).samples]
        names = [thread.name for thread in threading.enumerate()]
        assert [[result.score for result in future.result(30)] for future in futures] == [
            [0.0],
            [0.001],
            [0.002],
            [0.003],
        ]
    assert names.count("scoring client") == 1


@pytest.mark.parametrize(
    ("port", "url"),
    [
        ("8100", "http://127.0.0.1:8100"),
        ("", "http://127.0.0.1:8000"),
        (
            "tcp://10.0.0.1:8000",
            "http://127.0.0.1:8000",
        ),  # as Kubernetes sets it for a service named markbook
    ],
)
def test_the_port_variable_moves_the_default(monkeypatch, port, url):
    monkeypatch.delenv("MARKBOOK_URL", raising=False)
    monkeypatch.setenv("MARKBOOK_PORT", port)
    assert str(resolve_url(None)) == url
    assert str(resolve_url("http://h:1")) == "http://h:1"


@both
def test_figures_of_a_run_are_reported_and_read(call, sqlite_url):
    with served(parse_config({"store": {"database_url": sqlite_url}}), RecordingTeacher()) as url:
        metrics = {
            "mark": {"value": 0.5, "low": 0.25, "high": 0.75},
            "pass_at_1": Metric(value=1.0),
            "loss": 2,
        }
        assert call(url, "report_metrics", metrics, step=7, run="team/..") is None
        found = call(url, "run_metrics", "team/..")
        with pytest.raises(
            InvalidRequestError, match=r"metrics\.mark\.value: Input should be a finite number"
        ):
            call(url, "report_metrics", {"mark": float("nan")}, step=7)
        with pytest.raises(InvalidRequestError, match="step: "):
            call(url, "report_metrics", {"mark": 0.5}, step=-1)
        with pytest.raises(InvalidRequestError, match="run: "):
            call(url, "report_metrics", {"mark": 0.5}, step=1, run="my run")
    assert [(each.name, each.step, each.value, each.low) for each in found.metrics] == [
        ("loss", 7, 2.0, None),
        ("mark", 7, 0.5, 0.25),
        ("pass_at_1", 7, 1.0, None),
    ]


def test_figures_are_reported_in_the_background(sqlite_url):
    config = parse_config({"store": {"database_url": sqlite_url}})
    with (
        served(config, RecordingTeacher()) as url,
        ScoringClient(url, retry_policy=RetryPolicy(0.0)) as client,
    ):
        client.submit_metrics({"mark": 0.5}, step=1, run="a").result(30)
        assert [each.value for each in client.run_metrics("a").metrics] == [0.5]
