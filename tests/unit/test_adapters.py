"""The adapters against a server that speaks the contract: which texts are marked, what becomes
of a missing mark.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from markbook.adapters import swift, verifiers
from markbook.adapters._common import NoMarksError, text_of
from markbook.adapters.trl import markbook_reward
from markbook.adapters.verl import NoRewardError, compute_score
from markbook.client import RequestRejectedError, ServiceUnavailableError
from markbook.contract import ErrorCode, ExtractedFrom, Result, Sample, SampleError, Unscored
from tests.scripted import echo
from tests.unit.trainer.stub import StubService, scored

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Write f."},
    {"role": "assistant", "content": None, "tool_calls": []},
    {
        "role": "user",
        "content": [{"type": "text", "text": "In "}, {"type": "text", "text": "C++."}],
    },
]
CODES = ["a", "bad", "ccc"]


def missing(code: ErrorCode, retry_after_s: float | None = None) -> Unscored:
    error = SampleError(code=code, detail="because", retry_after_s=retry_after_s)
    return Unscored(error=error, extracted_from=ExtractedFrom.COMPLETION, key="k", profile="p")


def by_length(sample: Sample) -> Result:
    return (
        missing(ErrorCode.REPLY_UNREADABLE)
        if sample.code == "bad"
        else scored(len(sample.code) / 10)
    )


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubService]:
    monkeypatch.delenv("MARKBOOK_API_KEY", raising=False)
    with StubService(by_length) as service:
        yield service


async def test_trl_gets_a_mark_or_none_for_each_completion_and_two_metrics(stub):
    logged: dict[str, float] = {}
    reward = markbook_reward(url=stub.url, run="mine")
    marks = await reward(
        prompts=["Write f."] * 3,
        completions=CODES,
        completion_ids=[[1]] * 3,
        language=["python", "rust", "c++"],
        trainer_state=None,
        log_extra=None,
        log_metric=logged.__setitem__,
    )
    assert marks == [0.1, None, 0.3]
    [request] = stub.requests
    assert request.run == "mine"
    assert [(s.prompt, s.language, s.code) for s in request.samples] == [
        ("Write f.", "python", "a"),
        ("Write f.", "rust", "bad"),
        ("Write f.", "c++", "ccc"),
    ]
    assert logged == {"markbook/frac_unscored": pytest.approx(1 / 3), "markbook/frac_cached": 0.0}
    assert reward.__name__ == "markbook"  # TRL's logs say rewards/markbook/mean


async def test_tests_reach_the_service_from_each_trainers_dataset(stub):
    reward = markbook_reward(url=stub.url, language="python")
    columns = {"tests": [["assert f() == 1"], None], "test_setup": ["x = 1", None]}
    await reward(prompts=["Write f."] * 2, completions=["a", "b"], **columns)
    await reward(prompts=["Write f."], completions=["a"])
    info = {
        "prompt": "Write f.",
        "language": "python",
        "tests": ["assert f() == 2"],
        "test_setup": "y = 1",
    }
    await compute_score("d", "a", None, info, url=stub.url)
    sent = [
        (sample.tests, sample.test_setup) for request in stub.requests for sample in request.samples
    ]
    assert sent == [
        (["assert f() == 1"], "x = 1"),
        ([], ""),
        ([], ""),
        (["assert f() == 2"], "y = 1"),
    ]


async def test_trl_of_messages_the_teacher_is_shown_what_the_user_said(stub):
    completions = [[{"role": "assistant", "content": "a"}]]
    assert await markbook_reward(url=stub.url, language="c++")([MESSAGES], completions) == [0.1]
    [sample] = stub.requests[0].samples
    assert (sample.prompt, sample.language, sample.code) == ("Write f.\n\nIn C++.", "c++", "a")


async def test_trl_is_told_when_nobody_said_the_language(stub):
    with pytest.raises(ValueError, match="which language"):
        await markbook_reward(url=stub.url)(["p"], ["a"])
    assert stub.requests == []


@pytest.mark.parametrize("code", [ErrorCode.BUDGET_EXHAUSTED, ErrorCode.TEACHER_REJECTED])
async def test_trl_stops_when_no_mark_will_come_any_more(stub, code):
    stub.mark = lambda _: missing(code)
    with pytest.raises(NoMarksError, match=rf"none of 3 samples was marked: {code}: because"):
        await markbook_reward(url=stub.url, language="python")(["p"] * 3, CODES)
    stub.mark = lambda sample: scored(0.5) if sample.code == "a" else missing(code)
    assert await markbook_reward(url=stub.url, language="python")(["p"] * 3, CODES) == [
        0.5,
        None,
        None,
    ]


async def test_trl_goes_on_over_a_batch_that_only_this_time_was_not_marked(stub):
    stub.mark = lambda _: missing(ErrorCode.REPLY_TRUNCATED)
    assert await markbook_reward(url=stub.url, language="python")(["p"], ["a"]) == [None]


async def test_a_mark_that_may_come_later_is_asked_for_again(stub):
    answers = [missing(ErrorCode.TEACHER_UNAVAILABLE, 0.01), scored(0.4)]
    stub.mark = lambda _: answers.pop(0)
    assert await markbook_reward(url=stub.url, language="python")(["p"], ["a"]) == [0.4]
    assert len(stub.requests) == 2


async def test_a_service_that_is_away_or_refuses_ends_the_run(stub):
    away = [(503, {"error": "shutting_down", "detail": "soon back"})]
    refusal = [(401, {"error": "unauthorized", "detail": "an API key is needed"})]
    options = {"url": stub.url, "language": "python", "wait_s": 0.0}
    messages = [[{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]]
    for ask in (
        lambda: markbook_reward(**options)(["p"], ["a"]),
        lambda: swift.markbook_reward(**options)()(["a"], messages),
        lambda: verifiers.markbook_reward(**options)(
            SimpleNamespace(prompt_text="p"), SimpleNamespace(last_reply="a")
        ),
    ):
        stub.faults = list(away)
        with pytest.raises(ServiceUnavailableError, match="soon back"):
            await ask()
        stub.faults = list(refusal)
        with pytest.raises(RequestRejectedError, match="an API key is needed"):
            await ask()


async def test_verl_gets_the_mark_as_a_number(stub):
    info = {"question": "Write f.", "language": "rust", "index": 7}
    score = await compute_score(
        data_source="d", solution_str="ccc", ground_truth="42", extra_info=info, run="mine",
        language="python",
        url=stub.url, reward_router_address=None,
    )  # fmt: skip
    assert score == 0.3
    [request] = stub.requests
    [sample] = request.samples
    assert (request.run, sample.prompt, sample.language, sample.code) == (
        "mine",
        "Write f.",
        "rust",
        "ccc",
    )


async def test_verl_gets_an_error_and_no_number_where_there_is_no_mark(stub):
    with pytest.raises(
        NoRewardError,
        match=r"a sample of d has no mark: NoMarksError: .*: reply_unreadable: because",
    ):
        await compute_score("d", "bad", None, {"prompt": MESSAGES}, language="python", url=stub.url)
    stub.faults = [(503, {"error": "shutting_down", "detail": "soon back"})]
    with pytest.raises(NoRewardError, match=r"ServiceUnavailableError: .*soon back"):
        await compute_score(
            "d", "a", None, {"prompt": "p"}, language="python", url=stub.url, wait_s=0.0
        )
    assert not issubclass(
        NoRewardError, Exception
    )  # verl's `rate_limited` manager makes 0.0 of those


@pytest.mark.parametrize(
    ("info", "says"), [(None, "needs the task"), ({"prompt": "p"}, "needs the language")]
)
async def test_verl_is_told_what_is_missing(stub, info, says):
    with pytest.raises(NoRewardError, match=f"ValueError: .*{says}"):
        await compute_score("d", "a", None, info, url=stub.url)
    assert stub.requests == []


async def test_verl_gets_an_error_of_a_call_that_it_cancels(stub):
    stub.faults = [(503, {"error": "shutting_down", "detail": "soon back"})] * 1000
    call = compute_score(
        "d", "a", None, {"prompt": "p"}, language="python", url=stub.url, wait_s=60.0
    )
    with pytest.raises(NoRewardError, match=r"cancelled; set reward\.timeout above 60 s"):
        await asyncio.wait_for(call, timeout=0.05)


async def test_swift_gets_a_mark_for_each_completion_or_an_error(stub):
    reward = swift.markbook_reward(url=stub.url, run="mine")(args=object())
    messages = [[*MESSAGES[:2], {"role": "assistant", "content": code}] for code in CODES]
    columns = {
        "language": ["c", "rust", "c++"],
        "tests": [["assert f() == 1"], None, []],
        "trainer_state": None,
    }
    with pytest.raises(
        NoMarksError, match="1 of 3 samples have no mark: reply_unreadable: because"
    ):
        await reward(CODES, messages, **columns)
    stub.mark = lambda sample: scored(len(sample.code) / 10)
    assert await reward(CODES, messages, **columns) == [0.1, 0.3, 0.3]
    samples = stub.requests[-1].samples
    assert [(s.prompt, s.language, s.code) for s in samples] == [
        ("Write f.", "c", "a"),
        ("Write f.", "rust", "bad"),
        ("Write f.", "c++", "ccc"),
    ]
    assert [s.tests for s in samples] == [["assert f() == 1"], [], []]
    assert reward.__name__ == "markbook"  # its name in ms-swift's log


async def test_swift_needs_the_language(stub):
    with pytest.raises(ValueError, match="which language"):
        await swift.markbook_reward(url=stub.url)()(["a"], [MESSAGES])


async def test_verifiers_gets_a_mark_or_an_error(stub):
    reward = verifiers.markbook_reward(url=stub.url, run="mine", language="python")
    task = SimpleNamespace(
        prompt_text="Write f.", language="rust", tests=["assert f() == 1"], test_setup="x = 1"
    )
    assert await reward(task, SimpleNamespace(last_reply="a")) == 0.1
    assert await reward(SimpleNamespace(prompt_text="p"), SimpleNamespace(last_reply="ccc")) == 0.3
    with pytest.raises(
        NoMarksError, match="1 of 1 samples have no mark: reply_unreadable: because"
    ):
        await reward(task, SimpleNamespace(last_reply="bad"))
    first, second, _ = [request.samples[0] for request in stub.requests]
    assert (first.prompt, first.language, first.tests, first.test_setup) == (
        *("Write f.", "rust", ["assert f() == 1"]),
        "x = 1",
    )
    assert (second.prompt, second.language, second.tests) == ("p", "python", [])
    with pytest.raises(ValueError, match="which language"):
        await verifiers.markbook_reward(url=stub.url)(
            SimpleNamespace(prompt_text="p"), SimpleNamespace(last_reply="")
        )


@pytest.fixture
def skyrl_env(monkeypatch: pytest.MonkeyPatch):
    """The environment on a base class of the same shape as SkyRL's, which is not installed here."""

    class BaseTextEnv:
        turns = 0

    gym = ModuleType("skyrl_gym.envs.base_text_env")
    gym.BaseTextEnv, gym.BaseTextEnvStepOutput = BaseTextEnv, dict
    for name in ("skyrl_gym", "skyrl_gym.envs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, gym.__name__, gym)
    monkeypatch.delitem(sys.modules, "markbook.adapters.skyrl", raising=False)
    yield importlib.import_module("markbook.adapters.skyrl").MarkbookEnv
    sys.modules.pop("markbook.adapters.skyrl")


def test_skyrl_gets_a_mark_or_an_error(stub, skyrl_env):
    env = skyrl_env(
        {}, {"language": "rust", "tests": ["assert f() == 1"]}, run="mine", url=stub.url
    )
    assert env.init(MESSAGES) == (MESSAGES, {})
    step = env.step("ccc")
    assert (step["reward"], step["done"], step["observations"]) == (0.3, True, [])
    with pytest.raises(
        NoMarksError, match="1 of 1 samples have no mark: reply_unreadable: because"
    ):
        env.step("bad")
    sample = stub.requests[0].samples[0]
    assert (stub.requests[0].run, sample.prompt, sample.language) == (
        "mine",
        "Write f.\n\nIn C++.",
        "rust",
    )
    assert sample.tests == ["assert f() == 1"]
    with pytest.raises(ValueError, match="which language"):
        skyrl_env({}, {}, url=stub.url)


async def test_the_key_that_is_given_is_sent_and_else_that_of_the_environment(script, monkeypatch):
    monkeypatch.setenv("MARKBOOK_API_KEY", "of the environment")
    script.answer = echo
    assert await markbook_reward(url=script.url, language="c")(["p"], ["7"]) == [0.007]
    assert (
        await compute_score(
            "d", "8", None, {"prompt": "p"}, language="c", url=script.url, api_key="given"
        )
        == 0.008
    )
    keys = [headers["Authorization"] for _, headers, _ in script.seen]
    assert keys == ["Bearer of the environment", "Bearer given"]


def test_texts_of_messages():
    assert text_of("as it is", "user") == "as it is"
    assert text_of(MESSAGES, "assistant") == ""
    assert text_of([], "user") == ""
