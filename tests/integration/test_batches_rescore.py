"""`markbook rescore --batch` and `rubric try --batch`: marks of calls at half the price, Ctrl-C,
budgets, groups.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from markbook.cli import main
from markbook.scoring.judging import marking
from tests.emulator import tokens
from tests.integration.test_rescore import (
    HAIKU,
    SONNET,
    code_of,
    execute,
    new_judge,
    old_judge,
    samples,
)

STRICT = "---\ncriteria: {correctness: 0.5, style: 0.5}\n---\nJudge correctness and style.\n"
PER_TASK = 4
"""Samples of a task where the old teacher was shown two at a time."""


@pytest.fixture
def command(tmp_path, capsys, monkeypatch, emulator):
    """`command(*arguments)`: exit status, standard output and error, with the old judge's marks
    in the store.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    emulator.settings.count = tokens.estimate
    write_config(emulator)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, samples())))
    emulator.settings.judge = old_judge
    assert (
        main(["judge", "file.jsonl", "--teacher", "config.yaml", "--yes", "--resamples", "100"])
        == 0
    )
    emulator.settings.judge = new_judge
    forget(emulator)
    capsys.readouterr()

    def run(*arguments):
        status = main([*arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def settings(emulator, **teacher):
    on_emulator = {
        "name": "anthropic",
        "base_url": emulator.url,
        "base_url_has_batches": True,
        "model": HAIKU,
    }
    timing = {"batch_poll_s": 0.02, "cache_ttl": "1h", "max_concurrency": 1}
    return {
        "teacher": {**on_emulator, **timing, **teacher},
        "store": {"database_url": "sqlite:///marks.db"},
    }


def write_config(emulator, name="config.yaml", **teacher):
    Path(name).write_text(json.dumps(settings(emulator, **teacher)))


def forget(emulator):
    emulator.log.clear()
    emulator.cache.clear()
    emulator.batches.clear()


def rescore(command, *arguments):
    return command("rescore", "--resamples", "100", "--model", SONNET, *arguments)


def dollars_of(estimate: str) -> list[float]:
    """The likely cost and the highest, of a printed estimate."""
    return [
        float(word.removeprefix("$").rstrip(",\n"))
        for word in estimate.split()
        if word.startswith("$")
    ]


def test_by_batches_the_figures_are_those_of_calls_at_half_the_price(command, emulator):
    status, out, err = rescore(command, "--batch", "--yes", "--json")
    by_batch, estimated = json.loads(out), dollars_of(err.splitlines()[0])
    assert status == 0
    assert err.startswith(f"6 marks by {SONNET}, 0 of them stored; 3 batched requests, ")
    assert [len(each.requests) for each in emulator.batches.all()] == [3]
    assert by_batch["paid_usd"] == pytest.approx(sum(entry.dollars() for entry in emulator.log))
    execute(
        "DELETE FROM marks WHERE key IN (SELECT key FROM marks ORDER BY created_ms DESC LIMIT 6)"
    )
    forget(emulator)
    status, out, err = rescore(command, "--yes", "--json")
    by_calls = json.loads(out)
    assert (status, len(emulator.batches.all())) == (0, 0)
    assert by_batch["figures"] == by_calls["figures"]
    assert by_batch["groups"] == by_calls["groups"]
    assert 2 * by_batch["paid_usd"] == pytest.approx(by_calls["paid_usd"], rel=1e-4)
    # printed with two significant digits
    assert [2 * usd for usd in estimated] == pytest.approx(dollars_of(err.splitlines()[0]), rel=0.1)


def test_the_setting_does_the_same(command, emulator):
    write_config(emulator, batch="on")
    status, _, err = rescore(command, "--yes")
    assert (status, len(emulator.batches.all())) == (0, 1)
    assert "3 batched requests" in err


def test_samples_of_a_task_are_shown_with_those_of_their_old_group(command, emulator):
    write_config(emulator, max_group_size=2)
    lines = [
        {
            **next(iter(samples())),
            "code": f"{code_of(0, is_right=True)}# {number}\n",
            "passed": number % 2 == 0,
        }
        for number in range(PER_TASK)
    ]
    Path("more.jsonl").write_text("\n".join(map(json.dumps, lines)))
    judged = command(
        "judge",
        "more.jsonl",
        "--teacher",
        "config.yaml",
        "--yes",
        "--run",
        "more",
        "--resamples",
        "100",
    )
    assert judged[0] == 0
    old = {frozenset(entry.codes) for entry in emulator.log}
    assert {len(group) for group in old} == {2}
    forget(emulator)
    write_config(emulator, "new.yaml", max_group_size=8)
    status, out, _ = command(
        "rescore",
        "--teacher",
        "new.yaml",
        "--run",
        "more",
        "--batch",
        "--yes",
        "--json",
        "--resamples",
        "100",
    )
    assert (status, json.loads(out)["compared"]) == (0, PER_TASK)
    assert {frozenset(entry.codes) for entry in emulator.log} == old
    assert len(emulator.batches.all()) == 2  # one group of the task in each


def test_ctrl_c_leaves_the_batch_and_the_same_command_gets_its_marks(
    command, emulator, monkeypatch
):
    async def interrupted(_state, _batch):
        await asyncio.sleep(0.5)  # so that the batch is sent
        raise KeyboardInterrupt

    emulator.settings.batch_s = 3600.0
    with monkeypatch.context() as patch:
        patch.setattr(marking, "_end", interrupted)
        status, out, err = rescore(command, "--batch", "--yes")
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == (
        "stopped: the marks so far are stored, batches continue at the provider, and the same "
        "command continues"
    )
    emulator.batches.finish()
    status, out, _ = rescore(command, "--batch", "--yes", "--json")
    assert (status, json.loads(out)["compared"]) == (0, 6)
    assert len(emulator.batches.all()) == 1
    assert len(emulator.log) == 3


def test_a_limit_in_dollars_holds_for_the_whole_batch(command, emulator):
    status, out, _ = rescore(command, "--batch", "--yes", "--usd", "0.000001", "--json")
    report = json.loads(out)
    assert (status, len(emulator.batches.all())) == (0, 0)
    assert (report["compared"], report["unscored"]) == (0, {"budget_exhausted": 6})
    status, out, _ = rescore(command, "--batch", "--yes", "--usd", "1", "--json")
    assert json.loads(out)["compared"] == 6
    [(spent,)] = execute("SELECT nusd FROM budget_balances WHERE scope = 'run rescore'")
    assert spent == pytest.approx(1e9 * sum(entry.dollars() for entry in emulator.log), abs=1)


def test_a_rubric_is_tried_by_a_batch(command, emulator):
    Path("strict.md").write_text(STRICT)
    emulator.settings.judge = lambda codes: [(80, 60) for _ in codes]
    status, out, err = command(
        "rubric", "try", "strict.md", "--from-store", "6", "--batch", "--yes", "--json"
    )
    report = json.loads(out)
    assert status == 0
    assert f"{HAIKU}: 3 batched requests, " in err
    assert [each["new"]["score"] for each in report["samples"]] == [pytest.approx(0.7)] * 6
    assert len(emulator.batches.all()) == 1
    assert report["usage"]["cost_usd"] == pytest.approx(
        sum(entry.dollars() for entry in emulator.log)
    )
    status, out, err = command(
        "rubric", "try", "strict.md", "--from-store", "6", "--batch", "--json"
    )
    assert (status, json.loads(out)["usage"]["teacher_calls"]) == (0, 0)
    assert "6 of them stored" in err


@pytest.mark.parametrize(
    "arguments", [("rescore", "--teacher", "stub.yaml"), ("rubric", "try", "strict.md")]
)
def test_a_teacher_without_batches_is_refused_in_one_line(command, emulator, arguments):
    write_config(emulator, base_url_has_batches=False)
    Path("stub.yaml").write_text("teacher: {name: static}\n")
    Path("strict.md").write_text(STRICT)
    status, out, err = command(*arguments, "--batch", "--yes")
    assert (status, out, len(emulator.log)) == (2, "", 0)
    assert "it has no batches" in err.splitlines()[-1]
