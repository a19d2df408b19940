"""Samples from a generation server, over HTTP: the right policy, seed, order and end; what is
said when it fails.
"""

from __future__ import annotations

import json

import pytest
import torch

from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.model.policy import Policy
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.rollout.vllm import VllmSampler
from markbook.trainer.run import BAD_CONFIG, FINISHED, GAVE_UP
from tests.generation_server import VllmClient
from tests.tiny import move_adapter, tiny_model, tiny_policy, tiny_tokenizer
from tests.unit.trainer.rollout.test_rollout import TASKS as MORE_TASKS
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_run import by_hash, lines

TEMPERATURE = 0.7
TASKS = MORE_TASKS[:2]


@pytest.fixture
def server():
    with VllmClient(tiny_model()) as running:
        yield running


@pytest.fixture
def remote(tmp_path, server):
    """`remote(policy)` -> a VllmSampler; its lines are in `said`."""

    def make(policy: Policy, said: list[str] | None = None, **training) -> VllmSampler:
        training = {
            "generation_url": server.url,
            "generation_wait_s": 20.0,
            "max_new_tokens": 5,
        } | training
        rlaif = {"generation_temperature": TEMPERATURE, "run": "r"}
        config = Config.model_validate({"training": training, "rlaif": rlaif})
        return VllmSampler(
            policy, config, tmp_path / "generation", (said if said is not None else []).append
        )

    return make


def drawn(sampler, tasks=TASKS, num_generations=2, stream=(0, 1)):
    groups = dict(sampler.groups(tasks, num_generations, stream))
    return [groups[place] for place in range(len(tasks))]


def test_samples_are_the_policys_own_with_their_log_probs(remote, server):
    policy = tiny_policy()
    policy.updates = 3
    groups = drawn(remote(policy))
    samples = [sample for group in groups for sample in group]
    assert [[sample.task for sample in group] for group in groups] == [[task] * 2 for task in TASKS]
    assert len({sample.ids for sample in samples}) == len(samples)  # each from its own seed
    assert {sample.updates for sample in samples} == {3}
    assert all(
        sample.text == tiny_tokenizer().decode(sample.ids, skip_special_tokens=True)
        for sample in samples
    )
    assert all(
        sample.truncated == (len(sample.ids) == 5 and sample.ids[-1] != 1) for sample in samples
    )
    theirs = torch.tensor([value for sample in samples for value in sample.log_probs])
    torch.testing.assert_close(
        theirs, policy.log_probs(samples, TEMPERATURE).detach(), rtol=0, atol=1e-4
    )
    assert {request["temperature"] for request in server.requests} == {TEMPERATURE}


def test_the_same_stream_gives_the_same_samples_and_another_gives_others(remote):
    policy = tiny_policy()
    first = drawn(remote(policy))
    sampler = remote(policy, generation_batch_size=1)
    assert drawn(sampler) == first
    assert drawn(sampler, TASKS[:1], stream=(0, 2))[0] != first[0]
    assert drawn(remote(policy, seed=1), TASKS[:1])[0] != first[0]


def test_of_a_batch_only_the_share_is_asked_for(remote, server):
    policy = tiny_policy()
    whole = drawn(remote(policy))
    server.requests.clear()
    assert dict(remote(policy).groups(TASKS, 2, (0, 1), [1])) == {1: whole[1]}
    assert len(server.requests) == 2
    server.loaded.clear()
    assert list(remote(policy).groups(TASKS, 2, (0, 1), ())) == []
    assert server.loaded == []


def test_the_adapter_of_each_step_is_the_only_one_there(remote, server):
    policy = tiny_policy()
    sampler = remote(policy)
    first = drawn(sampler)
    assert drawn(sampler) == first
    assert len(server.loaded) == 1  # nothing was learned in between
    move_adapter(policy, seed=2)
    policy.updates = 1
    second = drawn(sampler)
    assert second != first
    assert list(server.adapters) == server.loaded[1:]
    assert [name.split(".")[0] for name in server.loaded] == ["r@0", "r@1"]
    theirs = torch.tensor([value for sample in second[0] for value in sample.log_probs])
    torch.testing.assert_close(
        theirs, policy.log_probs(second[0], TEMPERATURE).detach(), rtol=0, atol=1e-4
    )
    assert drawn(remote(policy)) == second
    assert len(server.adapters) == 1  # what a killed trainer of this run has left there is gone


def test_a_sample_is_written_no_further_than_its_closing_fence(remote, server, monkeypatch):
    policy, ids = tiny_policy(), tiny_tokenizer()("```\nx\n```\nand so on" + "." * 500)["input_ids"]
    rest = iter(ids)
    monkeypatch.setattr(
        "tests.generation_server.torch.multinomial", lambda *_, **__: torch.tensor(next(rest))
    )
    sampler = remote(policy, max_new_tokens=500)
    sampler._checked = True  # such a text is not the policy's
    [[sample]] = drawn(sampler, TASKS[:1], num_generations=1)
    assert sample.text == "```\nx\n```"
    assert len(sample.ids) == len(sample.log_probs) == 9
    assert not sample.truncated
    assert server.drawn < 500


def test_log_probs_without_the_temperature_are_refused(remote, server):
    server.processed = False
    with pytest.raises(ConfigError, match="start vLLM with --logprobs-mode processed_logprobs"):
        drawn(remote(tiny_policy()))


def test_another_model_is_refused(remote, server):
    with torch.no_grad():
        server.base.get_input_embeddings().weight.copy_(
            server.base.get_input_embeddings().weight.flip(0)
        )
    with pytest.raises(ConfigError, match=r"serves another model than training.model"):
        drawn(remote(tiny_policy()))


def test_an_answer_without_token_ids_is_refused(remote, server):
    server.token_ids = False
    with pytest.raises(ConfigError, match=r"answers without token ids .* vLLM 0.10.2 or later"):
        drawn(remote(tiny_policy()))


def test_a_server_that_loads_no_adapters_is_refused(remote, server):
    server.app.router.routes[:] = [
        route for route in server.app.router.routes if "load_lora" not in route.path
    ]
    with pytest.raises(ConfigError, match=r"HTTP 404: .*VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"):
        drawn(remote(tiny_policy()))


def test_an_adapter_that_does_not_fit_is_refused_at_once(remote, server):
    server.load_faults = [
        "Call to add_lora method failed: LoRA rank 32 is greater than max_lora_rank 16."
    ]
    with pytest.raises(
        ConfigError, match=r"LoRA rank 32 is greater .*--max-lora-rank \(at least training.lora_r\)"
    ):
        drawn(remote(tiny_policy()))


def test_an_engine_that_has_died_is_waited_for(remote, server, monkeypatch):
    monkeypatch.setattr("markbook.client.retry.FIRST_PAUSE_S", 0.01)
    policy, said = tiny_policy(), []
    expected = drawn(remote(policy))
    server.load_faults, server.healthy = ["EngineCore encountered an issue."], False
    sampler = remote(policy, said)
    server.adapters.clear()
    assert drawn(sampler) == expected
    assert said[-1] == "the generation server answers again"


def test_the_key_comes_from_the_environment(remote, server, monkeypatch):
    server.key = "secret"
    with pytest.raises(ConfigError, match=r"HTTP 401: .*MARKBOOK_GENERATION_KEY holds its key"):
        drawn(remote(tiny_policy()))
    monkeypatch.setenv("MARKBOOK_GENERATION_KEY", "secret")
    assert len(drawn(remote(tiny_policy()))) == 2


def test_faults_are_waited_out_and_change_no_sample(remote, server, monkeypatch):
    monkeypatch.setattr("markbook.client.retry.FIRST_PAUSE_S", 0.01)
    policy, said = tiny_policy(), []
    expected = drawn(remote(policy))
    server.faults = [503, "broken", 429, 425]
    server.adapters.clear()
    assert drawn(remote(policy, said)) == expected
    sampler = remote(policy, said)
    drawn(sampler)
    server.adapters.clear()  # it was started anew
    assert drawn(sampler) == expected
    assert any(line.endswith("retrying for up to 20 s") for line in said)
    assert said[-1] == "the generation server answers again"


def test_a_server_that_stays_away_is_given_up(remote):
    with pytest.raises(
        ServiceTimeoutError,
        match=r"did not answer: .*; gave up after training.generation_wait_s \(0 s\)",
    ):
        drawn(remote(tiny_policy(), generation_url="http://127.0.0.1:9", generation_wait_s=0.0))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_said_at_once(remote, url):
    with pytest.raises(ConfigError, match=r"training.generation_url .* is not a valid URL"):
        remote(tiny_policy(), generation_url=url)


def test_left_half_way_the_server_is_asked_no_more(remote, server):
    groups = remote(tiny_policy(), generation_batch_size=1).groups(TASKS, 2, (0, 1))
    assert next(groups)[0] == 0
    groups.close()
    assert len(server.requests) < 4


def test_a_whole_run_draws_from_the_server(run, tmp_path, server):
    with StubService(by_hash) as service:
        assert run(service, {"generation_url": f"{server.url}/v1", "eval_tasks": None}) == FINISHED
    first, second = lines(tmp_path / "run" / "metrics.jsonl")
    assert (first["policy_lag"], second["policy_lag"]) == (0, 0)
    assert 0 < max(first["log_prob_gap"], second["log_prob_gap"]) < 1e-4
    assert second["ratio_max"] == pytest.approx(1, abs=1e-3)
    assert [name.split(".")[0] for name in server.loaded] == ["test-run@0", "test-run@1"]
    samples = [
        json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ]
    assert len(samples) == len(server.requests) == 16


def test_a_run_whose_server_is_away_ends_with_a_line(run, tmp_path, capsys):
    training = {"generation_url": "http://127.0.0.1:9", "generation_wait_s": 0.0}
    with StubService(by_hash) as service:
        assert run(service, training) == GAVE_UP
        assert (
            "the generation server at http://127.0.0.1:9 did not answer" in capsys.readouterr().err
        )
        assert (
            run(service, {"generation_url": "nowhere"}, arguments=("--run-dir", "other"))
            == BAD_CONFIG
        )


def test_both_samplers_offer_the_same():
    assert VllmSampler.groups.__annotations__ == Sampler.groups.__annotations__
