"""Batches from the client and the shell: `score --batch`, `judge --batch`, Ctrl-C and the same
command again.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from markbook.cli import main
from markbook.client import AsyncScoringClient, RequestRejectedError, RetryPolicy, ScoringClient
from markbook.config.loading import parse_config
from markbook.contract import BatchState, Scored
from markbook.scoring.cli import batches as waiting
from markbook.scoring.judging import marking
from tests.emulator import tokens
from tests.integration.batching import sample, samples
from tests.integration.test_judge import code_of, judge_of
from tests.integration.test_judge import samples as labelled
from tests.served import served

CODE = sample(0, 0)["code"]


def settings(emulator, database_url, **teacher):
    on_emulator = {
        "name": "anthropic",
        "base_url": emulator.url,
        "base_url_has_batches": True,
        "batch_poll_s": 0.02,
    }
    return {"teacher": {**on_emulator, **teacher}, "store": {"database_url": database_url}}


@pytest.fixture
def url(emulator, sqlite_url, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    with served(parse_config(settings(emulator, sqlite_url)), None) as address:
        yield address


@pytest.fixture
def score(url, tmp_path, capsys, monkeypatch):
    """`score(*arguments)`: exit status, standard output and error; waits take no time."""
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)
    (tmp_path / "add.py").write_text(CODE)

    def run(*arguments):
        file = str(tmp_path / "add.py")
        status = main(["score", file, "--prompt", "Write f.", "--url", url, "--batch", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_both_clients_submit_a_batch_and_get_it(url):
    with ScoringClient(url, retry_policy=RetryPolicy(0.0)) as client:
        batch = client.submit_batch(samples(1, 2), run="mine", request_id="request-1")
        assert (batch.run, batch.samples, batch.results) == ("mine", 2, None)
        while batch.state is not BatchState.ENDED:
            batch = client.get_batch(batch.id)
        with pytest.raises(RequestRejectedError, match="there is no batch 0000"):
            client.get_batch("0" * 32)

    async def again():
        async with AsyncScoringClient(url, retry_policy=RetryPolicy(0.0)) as other:
            same = await other.submit_batch(samples(1, 2), run="mine", request_id="request-1")
            return await other.get_batch(same.id)

    assert asyncio.run(again()) == batch
    assert all(isinstance(result, Scored) for result in batch.results)


def test_a_client_that_gets_a_batch_unasked_says_which_setting_does_it(
    emulator, tmp_path, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    config = parse_config(settings(emulator, f"sqlite:///{tmp_path / 'on.db'}", batch="on"))
    with (
        served(config, None) as address,
        ScoringClient(address, retry_policy=RetryPolicy(0.0)) as client,
        pytest.raises(RequestRejectedError, match=r"teacher\.batch is on"),
    ):
        client.score(**sample(0, 0))


def test_a_file_is_scored_by_a_batch(score, emulator):
    status, out, err = score("--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["results"][0]["source"] == "teacher"
    assert answer["usage"]["cost_usd"] == pytest.approx(emulator.log[0].dollars(), abs=1e-9)
    assert err.startswith("batch ")
    assert ": 1 samples" in err
    assert err.splitlines()[-1].endswith(": ended")


def test_ctrl_c_leaves_the_batch_and_the_same_command_gets_its_mark(score, emulator, monkeypatch):
    def interrupted(_client, _batch):
        raise KeyboardInterrupt

    emulator.settings.batch_s = 3600.0
    with monkeypatch.context() as patch:
        patch.setattr(waiting, "_look", interrupted)
        status, out, err = score()
    assert (status, out) == (130, "")
    assert "the service continues batch" in err
    assert "The same command gets its marks" in err
    emulator.settings.batch_s = 0.0
    status, out, _ = score("--json")
    assert status == 0
    assert json.loads(out)["usage"]["teacher_calls"] == 0
    assert len(emulator.log) == 1


@pytest.fixture
def judge(emulator, tmp_path, capsys, monkeypatch):
    """`judge(*arguments)`: exit status, standard output and error."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, labelled())))
    emulator.settings.judge = judge_of(0.8)
    emulator.settings.count = tokens.estimate

    def run(*arguments, database="marks.db", **teacher):
        config = settings(emulator, f"sqlite:///{tmp_path / database}", cache_ttl="1h", **teacher)
        (tmp_path / "a.yaml").write_text(json.dumps(config))
        status = main(
            [
                "judge",
                "file.jsonl",
                "--teacher",
                "a.yaml",
                "--yes",
                "--resamples",
                "100",
                *arguments,
            ]
        )
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_judge_by_batches_has_the_figures_of_calls_at_half_the_price(judge, emulator):
    status, out, err = judge("--json", "--batch")
    assert status == 0
    [by_batch] = json.loads(out)["teachers"]
    assert len(emulator.batches.all()) == 1
    estimated = err.splitlines()[0]
    emulator.clear(count=tokens.estimate, judge=judge_of(0.8))
    _, out, err = judge("--json", database="calls.db", max_concurrency=1)
    [by_calls] = json.loads(out)["teachers"]
    assert by_batch["figures"]["auc"] == by_calls["figures"]["auc"]
    dollars = [each["figures"]["usd_per_1000"]["value"] for each in (by_batch, by_calls)]
    assert 2 * dollars[0] == pytest.approx(dollars[1], rel=1e-4)
    assert estimated != err.splitlines()[0]


def test_judge_continues_a_batch_that_ctrl_c_left(judge, emulator, monkeypatch):
    async def interrupted(_state, _batch):
        await asyncio.sleep(0.5)  # so that the batch is sent
        raise KeyboardInterrupt

    emulator.settings.batch_s = 3600.0
    with monkeypatch.context() as patch:
        patch.setattr(marking, "_end", interrupted)
        status, _, err = judge("--batch")
    assert status == 130
    assert "batches continue at the provider" in err
    emulator.batches.finish()
    status, _, _ = judge("--batch")
    assert status == 0
    assert len(emulator.batches.all()) == 1
    assert {code for entry in emulator.log for code in entry.codes} >= {code_of(0, is_right=True)}


def test_judge_refuses_batches_of_the_stand_in_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, labelled())))
    (tmp_path / "a.yaml").write_text(
        "teacher: {name: static}\nstore: {database_url: 'sqlite:///marks.db'}\n"
    )
    assert (
        main(["judge", "file.jsonl", "--teacher", "a.yaml", "--batch", "--resamples", "100"]) == 2
    )
    assert "it has no batches" in capsys.readouterr().err.splitlines()[-1]
