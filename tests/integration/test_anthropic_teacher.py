"""The SDK, unmodified, over real HTTP against the emulator: requests, marks, bills, cache,
order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import pytest

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Price, TeacherConfig
from markbook.contract import ErrorCode
from markbook.scoring.prompts.prompt import shuffled_order, system_text
from markbook.scoring.prompts.rubric import load_rubric, parse_rubric
from markbook.scoring.teachers.anthropic.group_splitting import MAX_CHARS_PER_BATCH
from markbook.scoring.teachers.anthropic.teacher import AnthropicTeacher
from markbook.scoring.teachers.protocol import Group
from markbook.scoring.types import CRITERIA, Judgment, ScoringFailure, TeacherCall
from tests.emulator import judges, tokens
from tests.emulator.fixtures import TeacherFactory
from tests.emulator.ratelimit import Bucket
from tests.emulator.server import Emulator
from tests.fakes import OpenLimiter, Reply, asked

CODES = ("def f(): return 1", "def f(): return 2", "def f(): return 3")


def group(name: str = "g", codes: tuple[str, ...] = CODES, task: str = "Write f.") -> Group:
    return Group(name, task, "python", codes)


def true_marks(code: str) -> dict[str, float]:
    return {name: mark / 100 for name, mark in zip(CRITERIA, judges.marks_for(code), strict=True)}


def assert_true_marks(codes: Iterable[str], reply: Reply) -> None:
    for code, outcome in zip(codes, reply.outcomes, strict=True):
        assert isinstance(outcome, Judgment), outcome
        assert outcome.criteria == true_marks(code)


def bill(call: TeacherCall) -> tuple[int, int, int, int]:
    return (
        call.input_tokens,
        call.output_tokens,
        call.cache_read_input_tokens,
        call.cache_creation_input_tokens,
    )


def sent(call: TeacherCall) -> int:
    return call.input_tokens + call.cache_read_input_tokens + call.cache_creation_input_tokens


class WatchedPurse(OpenLimiter):
    """`pairs` are the bound and the bill of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[TeacherCall, TeacherCall]] = []

    async def settle(self, reservation: str, bound: TeacherCall, bill: TeacherCall) -> None:
        self.pairs.append((bound, bill))
        await super().settle(reservation, bound, bill)


async def test_every_sample_gets_its_own_marks_whatever_the_order(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    teacher = claude()
    for number in range(8):
        assert_true_marks(CODES, await asked(teacher, group(f"g{number}")))
    shown = [tuple(entry.codes) for entry in emulator.log]
    assert len(set(shown)) > 1
    for number, codes in enumerate(shown):
        assert codes == tuple(
            CODES[index] for index in shuffled_order(f"g{number}", 3, shuffle=True)
        )


async def test_without_shuffling_samples_are_shown_as_they_come(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    teacher = claude(shuffle_group=False)
    for number in range(4):
        assert_true_marks(CODES, await asked(teacher, group(f"g{number}")))
    assert {tuple(entry.codes) for entry in emulator.log} == {CODES}


async def test_the_request(claude: TeacherFactory, emulator: Emulator) -> None:
    await asked(claude(), group(task="Write f. Ask nothing."))
    body = emulator.log[0].body
    assert set(body) == {"model", "max_tokens", "system", "messages", "thinking"}
    assert body["model"] == "claude-haiku-5-5"
    assert body["thinking"] == {"type": "disabled"}
    [system] = body["system"]
    assert system["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert load_rubric().text in system["text"]
    assert "Write f. Ask nothing." in body["messages"][0]["content"]
    assert all(code in body["messages"][0]["content"] for code in CODES)
    assert "Write f." not in system["text"]


async def test_the_rubric_can_go_back_into_each_message(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    reply = await asked(claude(rubric_in_system_prompt=False), group())
    assert_true_marks(CODES, reply)
    body = emulator.log[0].body
    assert "system" not in body
    assert body["messages"][0]["content"].startswith(system_text(load_rubric(), explain=False))
    assert bill(reply.calls[0])[2:] == (0, 0)


@pytest.mark.parametrize(
    ("model", "thinking", "effort", "thought"),
    [
        ("claude-haiku-5-5", {"type": "disabled"}, None, 0),
        ("claude-haiku-4-5", {"type": "disabled"}, None, 0),
        ("claude-sonnet-5-5", {"type": "between_tools"}, None, 0),
        ("claude-opus-5-5", None, "low", 300),
    ],
)
async def test_models_think_as_little_as_they_can_be_told_to(
    claude: TeacherFactory,
    emulator: Emulator,
    model: str,
    thinking: object,
    effort: str | None,
    thought: int,
) -> None:
    reply = await asked(claude(model=model), group())
    assert_true_marks(CODES, reply)
    body = emulator.log[0].body
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert thought < reply.calls[0].output_tokens < thought + 60


async def test_the_bill_is_the_emulators_to_the_token_and_the_dollar(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.count = tokens.exact
    for model in ("claude-haiku-5-5", "claude-sonnet-5-5"):
        teacher = claude(model=model)
        replies = [await asked(teacher, group(f"{model}{number}")) for number in range(3)]
        calls = [call for reply in replies for call in reply.calls]
        entries = [entry for entry in emulator.log if entry.body["model"] == model]
        for call, entry in zip(calls, entries, strict=True):
            assert entry.bill is not None
            assert bill(call) == (
                entry.bill.input_tokens,
                entry.bill.output_tokens,
                entry.bill.cache_read_input_tokens,
                entry.bill.cache_write_5m,
            )
            assert call.cost_usd == pytest.approx(entry.dollars(), rel=1e-12)
            assert call.provider_request_id == entry.request_id
        system = tokens.exact(system_text(load_rubric(), explain=False))
        assert [call.cache_creation_input_tokens for call in calls] == [system, 0, 0]
        assert [call.cache_read_input_tokens for call in calls] == [0, system, system]
        assert bill(calls[1]) == (bill(calls[1])[0], calls[1].output_tokens, system, 0)


async def test_billed_input_equivalent_weighs_by_price(claude: TeacherFactory) -> None:
    teacher = claude()
    for _ in range(2):
        [call] = (await asked(teacher, group())).calls
        fresh, out, read, written = bill(call)
        assert call.billed_input_equivalent == pytest.approx(
            fresh + 0.1 * read + 1.25 * written + 5 * out
        )
        assert call.cost_usd == pytest.approx(call.billed_input_equivalent * 0.10 / 1e6)


async def test_an_hours_cache_is_asked_for_and_paid_for(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    teacher = claude(cache_ttl="1h")
    [call] = (await asked(teacher, group())).calls
    fresh, out, _, written = bill(call)
    assert call.billed_input_equivalent == pytest.approx(fresh + 2 * written + 5 * out)
    assert call.cost_usd == pytest.approx(emulator.log[0].dollars(), rel=1e-12)


async def test_one_call_warms_the_cache_before_a_fan_out(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.latency_s = 0.02
    teacher = claude(max_concurrency=16)
    replies = await asyncio.gather(*(asked(teacher, group(f"g{number}")) for number in range(12)))
    calls = [call for reply in replies for call in reply.calls]
    assert sum(call.cache_creation_input_tokens > 0 for call in calls) == 1
    assert sum(call.cache_read_input_tokens > 0 for call in calls) == 11


async def test_no_more_calls_than_allowed_are_in_flight(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    emulator.settings.latency_s = 0.02
    teacher = claude(max_concurrency=3)
    await asyncio.gather(*(asked(teacher, group(f"g{number}")) for number in range(12)))
    assert emulator.most_in_flight == 3


async def test_a_dollar_amount_is_not_made_up_for_an_unknown_price(claude: TeacherFactory) -> None:
    teacher = claude(model="claude-opus-4-9")
    purse = WatchedPurse()
    [outcome, *_] = await teacher.mark(group(), purse)
    assert purse.pairs[0][0].cost_usd is None
    assert isinstance(outcome, ScoringFailure)  # the emulator does not know the model either
    assert outcome.code is ErrorCode.TEACHER_REJECTED
    assert "404 not_found_error: model: claude-opus-4-9" in outcome.detail
    own = claude(prices={"claude-haiku-5-5": Price(input=1.0, output=0.0)})
    [call] = (await asked(own, group())).calls
    assert call.cost_usd == pytest.approx(call.billed_input_equivalent / 1e6)


async def test_reasons_are_asked_for_on_demand(claude: TeacherFactory, emulator: Emulator) -> None:
    plain = await asked(claude(), group())
    reply = await asked(claude(explain=True), group())
    assert_true_marks(CODES, reply)
    for outcome in reply.outcomes:
        assert isinstance(outcome, Judgment)
        assert outcome.reasons == ("clear names, one pass over the input, edge cases handled",)
    assert reply.calls[0].output_tokens > plain.calls[0].output_tokens


async def test_a_rubric_of_ones_own_has_its_own_marks(
    claude: TeacherFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "CRITERIA", 2)
    own = parse_rubric(
        "---\ncriteria: {tone: 0.5, brevity: 0.5}\n---\ntone: kind. brevity: short.", "own.md"
    )
    reply = await asked(claude(own), group(codes=("x = 1",)))
    [outcome] = reply.outcomes
    assert isinstance(outcome, Judgment)
    assert set(outcome.criteria) == {"tone", "brevity"}


async def test_a_group_too_long_for_one_request_is_asked_in_parts(
    claude: TeacherFactory, emulator: Emulator
) -> None:
    codes = tuple(str(number) * (MAX_CHARS_PER_BATCH // 2 - number) for number in range(4))
    reply = await asked(claude(), group(codes=codes))
    assert_true_marks(codes, reply)
    assert [len(entry.codes) for entry in emulator.log] == [2, 2]
    alone = ("y" * (MAX_CHARS_PER_BATCH + 1),)
    assert_true_marks(alone, await asked(claude(), group(codes=alone)))


async def test_concurrency_follows_the_rate_limits(
    claude: TeacherFactory, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.settings.limits = [Bucket("requests", 20, emulator.clock)]
    teacher = claude(max_concurrency=16, timeout_s=600.0)
    waited = teacher._retry_policy.sleep

    async def sleep(seconds: float) -> None:
        emulator.skipped_s += seconds
        await waited(seconds)

    object.__setattr__(teacher._retry_policy, "sleep", sleep)
    replies = await asyncio.gather(*(asked(teacher, group(f"g{number}")) for number in range(60)))
    for reply in replies:
        assert_true_marks(CODES, reply)
    throttled = sum(entry.status == 429 for entry in emulator.log)
    assert 0 < throttled < 40
    assert teacher._retry_policy.limiter.limit < 16


async def test_the_bound_is_above_every_bill(claude: TeacherFactory, emulator: Emulator) -> None:
    emulator.settings.count = tokens.exact
    texts = ("AbCdEf" * 40, "😀🧑‍💻" * 30, "x=1\n" * 100, "ÅßçΩ" * 40, "\t \n" * 50)
    purse = WatchedPurse()
    for ttl in ("5m", "1h"):
        teacher = claude(cache_ttl=ttl)
        for codes in (texts, *((text,) for text in texts)):
            await teacher.mark(group(codes=codes), purse)
    assert len(purse.pairs) == 12
    for bound, bill in purse.pairs:
        assert bound.usage_unknown
        assert not bill.usage_unknown
        assert (bill.cost_usd or 0) <= (bound.cost_usd or 0)
        assert sent(bill) <= sent(bound)
        assert bill.output_tokens <= bound.output_tokens


def test_without_a_key_it_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        AnthropicTeacher.from_config(Config(), load_rubric(), {"ANTHROPIC_API_KEY": ""})


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8089", "ftp://host", "http://", "http://host/v1", "http://host/v1/"]
)
def test_a_base_url_that_cannot_work_is_said_at_start(claude: TeacherFactory, url: str) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.base_url is .* expected http\(s\)://HOST"):
        claude(base_url=url)


async def test_either_kind_of_key_will_do(emulator: Emulator) -> None:
    config = Config(teacher=TeacherConfig(name="anthropic", base_url=emulator.url))
    for environ in ({"ANTHROPIC_API_KEY": "k"}, {"ANTHROPIC_AUTH_TOKEN": "t"}):
        teacher = AnthropicTeacher.from_config(config, load_rubric(), environ)
        assert_true_marks(CODES, await asked(teacher, group()))
        await teacher.close()


def test_a_rubric_below_the_models_floor_is_said_at_start(
    claude: TeacherFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        claude()
        assert caplog.messages == []
        claude(rubric_in_system_prompt=False, model="claude-haiku-4-5")
        assert caplog.messages == []
        claude(model="claude-haiku-4-5")
    [line] = caplog.messages
    assert "claude-haiku-4-5 caches prompts of at least 4096 tokens, the rubric has about" in line


def test_identity_holds_what_a_mark_depends_on(claude: TeacherFactory) -> None:
    plain = claude().identity()
    for changed in (
        {"model": "claude-sonnet-5-5"},
        {"explain": True},
        {"shuffle_group": False},
        {"effort": "high"},
    ):
        assert claude(**changed).identity() != plain
    # a model's name says nothing about who answers to it
    assert claude(base_url="http://127.0.0.1:9").identity() != plain
    for same in ({"timeout_s": 9.0}, {"max_concurrency": 1}, {"cache_ttl": "1h"}):
        assert claude(**same).identity() == plain
