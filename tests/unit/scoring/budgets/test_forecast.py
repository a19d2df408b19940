"""What a run would cost, against figures worked out by hand and, in test_estimate.py, against
the emulator's bill.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from markbook.cli import main
from markbook.config.loading import parse_config
from markbook.config.settings import Config
from markbook.contract import (
    AuditStats,
    CacheStats,
    Counters,
    ProfileInputs,
    Source,
    Stats,
    TeacherStats,
)
from markbook.scoring.budgets.cost_estimate import Assumptions, Plan, forecast, is_cached
from markbook.scoring.prompts.prompt import estimate_tokens, render, system_text
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.scoring.teachers.anthropic.pricing import Tokens

TASK = ("Write f(x).", "python")
PLAN = Plan([TASK], groups=10, samples=4, steps=5)
PLAIN = Assumptions(
    code_tokens=100, rejected=0, reused=0, text_factor=1, rubric_writes=1, room_used=0
)
RUBRIC = load_rubric()


def config(**sections: dict[str, object]) -> Config:
    return parse_config(sections)


def test_ten_groups_of_four_by_hand():
    found = forecast(PLAN, PLAIN, config(), RUBRIC)
    system = estimate_tokens(system_text(RUBRIC, explain=False))
    message = estimate_tokens(render(*TASK, [""] * 4, "#000000")) + 4 * 100
    assert (found.judged, found.calls) == (40, 10)
    # the rubric is written once and read nine times; four samples of five numbers, two tokens each
    assert found.tokens == Tokens(
        10 * message, 10 * 40, cache_read=9 * system, cache_write_5m=system
    )
    usd = (10 * message + 0.1 * 9 * system + 1.25 * system) * 0.1e-6 + 400 * 0.5e-6
    assert found.usd == pytest.approx(usd)


def test_what_the_tier_rejects_and_the_book_has_is_not_judged():
    found = forecast(PLAN, replace(PLAIN, rejected=0.5, reused=0.25), config(), RUBRIC)
    assert found.judged == pytest.approx(40 * 0.5 * 0.75)
    # a group whose four samples are all rejected or in the book is no call
    assert found.calls == pytest.approx(10 * (1 - 0.625**4))


def test_audits_are_judged_too():
    audited = config(rlaif={"heuristic_audit_rate": 0.5})
    assert forecast(PLAN, replace(PLAIN, rejected=0.5), audited, RUBRIC).judged == pytest.approx(
        40 * 0.75
    )


def test_audits_of_both_tiers_have_calls_of_their_own():
    rates = {"heuristic_audit_rate": 0.5, "tests_audit_rate": 0.2}
    halved = replace(PLAIN, rejected=0.25, failed=0.25)
    found = forecast(PLAN, halved, config(rlaif=rates), RUBRIC)
    # of four samples 2 are left, a half of 1 and a fifth of 1 are audited
    assert found.judged == pytest.approx(10 * (2 + 0.5 + 0.2))
    # a call where any of four samples is: 1 - 0.5^4, 1 - 0.875^4, 1 - 0.95^4
    assert found.calls == pytest.approx(10 * (0.9375 + 0.413818 + 0.185494), abs=1e-4)
    assert forecast(PLAN, halved, config(), RUBRIC).judged == pytest.approx(20)
    one_kind = forecast(
        PLAN, replace(PLAIN, rejected=1.0), config(rlaif={"heuristic_audit_rate": 0.5}), RUBRIC
    )
    assert (one_kind.judged, one_kind.calls) == (pytest.approx(20), pytest.approx(10 * 0.9375))


def test_a_batch_has_its_price_its_cache_and_no_audits():
    found = forecast(PLAN, PLAIN, config(teacher={"batch": "on"}), RUBRIC)
    system = estimate_tokens(system_text(RUBRIC, explain=False))
    message = estimate_tokens(render(*TASK, [""] * 4, "#000000")) + 4 * 100
    assert found.tokens == Tokens(
        10 * message, 10 * 40, cache_read=9 * system, cache_write_1h=system
    )
    usd = (10 * message + 0.1 * 9 * system + 2 * system) * 0.1e-6 + 400 * 0.5e-6
    assert found.usd == pytest.approx(usd / 2)
    audited = config(
        teacher={"batch": "on"}, rlaif={"heuristic_audit_rate": 1.0, "tests_audit_rate": 1.0}
    )
    assert forecast(
        PLAN, replace(PLAIN, rejected=0.25, failed=0.25), audited, RUBRIC
    ).judged == pytest.approx(20)


def test_where_tests_alone_decide_only_rejected_samples_are_judged_in_audits():
    only = config(rlaif={"tests_policy": "only", "heuristic_audit_rate": 0.5})
    assert forecast(PLAN, replace(PLAIN, rejected=0.25), only, RUBRIC).judged == pytest.approx(5)
    assert forecast(PLAN, PLAIN, only, RUBRIC).usd == 0


@pytest.mark.parametrize(
    ("share", "judged"),
    [({"rejected": 1.0}, 0), ({"reused": 1.0}, 0), ({"rejected": 0.7, "failed": 0.3}, 0)],
)
def test_nothing_to_judge_costs_nothing(share, judged):
    found = forecast(PLAN, replace(PLAIN, **share), config(), RUBRIC)
    assert (found.judged, found.calls, found.tokens, found.usd) == (judged, 0, Tokens(), 0)


@pytest.mark.parametrize(("size", "calls"), [(8, 10), (4, 10), (3, 20), (1, 40)])
def test_a_group_over_the_size_is_several_calls(size, calls):
    assert forecast(PLAN, PLAIN, config(teacher={"max_group_size": size}), RUBRIC).calls == calls


def test_a_rubric_outside_the_prompt_cache_is_paid_in_full():
    system = estimate_tokens(system_text(RUBRIC, explain=False))
    cached = forecast(PLAN, PLAIN, config(), RUBRIC)
    for settings in (
        config(rlaif={"move_rubric_to_system_prompt": False}),
        config(teacher={"model": "claude-haiku-4-5"}),  # caches from 4,096 tokens on
    ):
        assert not is_cached(settings, RUBRIC)
        found = forecast(PLAN, PLAIN, settings, RUBRIC)
        assert found.tokens == Tokens(cached.tokens.input + 10 * system, cached.tokens.output)
    assert not is_cached(config(), Rubric("style", {"style": 1.0}))


def test_an_hour_s_cache_is_written_at_its_own_price():
    found = forecast(PLAN, PLAIN, config(teacher={"cache_ttl": "1h"}), RUBRIC)
    assert found.tokens.cache_write_5m == 0
    assert found.tokens.cache_write_1h > 0


def test_replies_fill_their_room_and_thinking_is_part_of_it():
    full = replace(PLAIN, room_used=1)
    assert forecast(PLAN, full, config(), RUBRIC).tokens.output == 10 * (16 + 4 * 15)
    thinking = config(teacher={"model": "claude-opus-5-5", "thinking_tokens": 1000})
    assert forecast(PLAN, full, thinking, RUBRIC).tokens.output == 10 * (16 + 4 * 15 + 1000)
    assert forecast(PLAN, PLAIN, thinking, RUBRIC).tokens.output == 10 * 40


def test_a_long_call_is_priced_as_one_though_the_sum_of_calls_is_longer():
    small, large = (replace(PLAIN, code_tokens=tokens) for tokens in (20_000, 26_000))
    cheap, dear = (forecast(PLAN, each, config(), RUBRIC) for each in (small, large))
    assert cheap.usd == pytest.approx(10 * 80_000 * 0.1e-6, rel=0.02)
    assert dear.usd == pytest.approx(5 * 10 * 104_000 * 0.1e-6, rel=0.02)


def test_without_a_price_there_are_tokens_and_no_dollars():
    found = forecast(PLAN, PLAIN, config(teacher={"model": "unheard-of"}), RUBRIC)
    assert found.usd is None
    assert found.tokens.sent > 0


def stats(**by_source: int) -> str:
    counts = Counters(
        samples=sum(by_source.values()),
        by_source={Source(name): by_source[name] for name in by_source},
    )
    return Stats(
        totals=Counters(samples=10**6),
        runs={"earlier": counts},
        cache=CacheStats(entries=0, bytes=0),
        teacher=TeacherStats(name="x", model="x", is_stub=False, description="x"),
        profile="x",
        audits=AuditStats(),
        policy={},
        profile_inputs=ProfileInputs(
            teacher={},
            rubric="x",
            template="x",
            extractor="x",
            max_group_size=8,
            prompt_chars=None,
            prompt_policy=None,
            rubric_in_system_prompt=True,
        ),
        since="x",
    ).model_dump_json()


def report(capsys, *arguments: str) -> str:
    assert main(["estimate", *arguments]) == 0
    return capsys.readouterr().out


def test_the_report_states_the_run_the_bounds_and_what_is_assumed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text(
        '{"prompt": "Write f.", "language": "python", "id": 7}\n\n' * 3
    )
    told = report(capsys, "t.jsonl", "--epochs", "2", "--samples", "5")
    assert "t.jsonl: 3 tasks; 6 groups of 5 samples in 1 steps: 30 samples" in told
    assert "teacher: claude-haiku-5-5, $0.1 per million tokens sent, $0.5 received" in told
    assert "the free stub" in told
    assert "code per sample: 64 / 128 / 333 tokens" in told
    assert "rejects 40% / 10% / 0% of the samples" in told
    assert "a failed test decides 0% of them" in told
    assert "audits" not in told
    low, likely, high = [float(cell.lstrip("$")) for cell in build_ledger_line(told, "cost")]
    assert 0 < low < likely < high
    by_steps = report(capsys, "t.jsonl", "--steps", "7", "--samples", "5")
    assert "56 groups of 5 samples in 7 steps: 280 samples" in by_steps


def test_the_shares_of_an_earlier_run_take_the_place_of_the_guesses(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text('{"prompt": "Write f.", "language": "python"}\n')
    (tmp_path / "stats.json").write_text(
        stats(heuristic=20, tests=10, cache=15, coalesced=20, teacher=35)
    )
    told = report(capsys, "t.jsonl", "--stats", "stats.json", "--code-tokens", "90")
    assert "code per sample: 90 tokens" in told
    assert "rejects 20% of the samples" in told
    assert "a failed test decides 10% of them" in told
    assert "of the others 50% are cached" in told
    (tmp_path / "stats.json").write_text(stats(heuristic=20))
    assert main(["estimate", "t.jsonl", "--stats", "stats.json"]) == 2
    assert "no sample that passed the heuristic tier" in capsys.readouterr().err


def test_tests_of_the_tasks_and_audits_are_assumed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tested = {"prompt": "Write f.", "language": "python", "tests": ["assert f()"]}
    (tmp_path / "t.jsonl").write_text(
        f'{json.dumps(tested)}\n{{"prompt": "Write g.", "language": "python"}}\n'
    )
    (tmp_path / "config.yaml").write_text("rlaif: {tests_audit_rate: 0.1}")
    told = report(capsys, "t.jsonl")
    # half of the tasks; 0.6 x 0.5 x 0.8, 0.9 x 0.5 x 0.4, 0
    assert "a failed test decides 24% / 18% / 0% of them" in told
    assert "audits: 0% of the rejected and 10% of the failed samples are judged as well" in told
    (tmp_path / "config.yaml").write_text("rlaif: {tests_policy: advise}")
    assert "a failed test decides 0% of them" in report(capsys, "t.jsonl")
    (tmp_path / "config.yaml").write_text("rlaif: {tests_audit_rate: 0.1}\nteacher: {batch: on}")
    batched = report(capsys, "t.jsonl")
    assert "$0.1 per million tokens sent, $0.5 received, times 0.5 in batches" in batched
    assert "in batches (teacher.batch), which have no audits" in batched
    found = json.loads(report(capsys, "t.jsonl", "--json"))
    assert found["batch"] is True
    assert [
        found[bound]["assumed"]["failed"] for bound in ("low", "likely", "high")
    ] == pytest.approx([0.24, 0.18, 0])
    assert found["high"]["assumed"]["rubric_writes"] == found["groups"]


def build_ledger_line(told: str, name: str) -> list[str]:
    [line] = [line for line in told.splitlines() if line.startswith(name)]
    return line.split()[-3:]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e308", "x"])
@pytest.mark.parametrize("option", ["--code-tokens", "--epochs"])
def test_a_number_that_no_run_has_is_refused(tmp_path, capsys, option, value):
    (tmp_path / "t.jsonl").write_text('{"prompt": "p", "language": "python"}\n')
    assert main(["estimate", str(tmp_path / "t.jsonl"), option, value]) == 2
    assert f"Invalid value for '{option}': " in capsys.readouterr().err
