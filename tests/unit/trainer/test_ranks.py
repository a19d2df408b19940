"""Two processes of a run, here two threads that hand each other what processes send: who does
what, how all end.
"""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace

import pytest
import torch

from markbook.client import RequestRejectedError
from markbook.config.loading import ConfigError
from markbook.config.settings import Config
from markbook.trainer import distributed
from markbook.trainer.distributed import SINGLE_PROCESS, ProcessGroup
from markbook.trainer.errors import (
    BudgetExceededError,
    RankLostError,
    RewardHackingError,
    ServiceTimeoutError,
)
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.sample_stats import sample_kl, sample_log_probs
from markbook.trainer.utils import signals
from tests.tiny import tiny_policy
from tests.tolerance import TINY_MODEL
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES, TEMPERATURE


class Pair:
    """`run(work)`: what `work(ranks)` returns or raises in each of two processes."""

    def __init__(self):
        self.said, self.met = {}, threading.Barrier(2)
        self.me = threading.local()

    def gather_object(self, items):
        # what crosses over is a copy, as between processes
        self.said[self.me.index] = pickle.dumps(items)
        self.met.wait()
        whole = [item for index in (0, 1) for item in pickle.loads(self.said[index])]
        self.met.wait()
        return whole

    def reduce(self, tensor, how):
        assert how == "sum"
        return torch.stack(self.gather_object([tensor])).sum(0)

    def run(self, work):
        ended = [None, None]

        def process(index):
            self.me.index = index
            try:
                ended[index] = work(ProcessGroup(index, 2))
            except Exception as error:  # noqa: BLE001 - looked at by the test
                ended[index] = error

        threads = [threading.Thread(target=process, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ended


@pytest.fixture
def pair(monkeypatch):
    pair = Pair()
    monkeypatch.setattr(distributed, "gather_object", pair.gather_object)
    monkeypatch.setattr(distributed, "reduce", pair.reduce)
    return pair


def test_every_item_is_somebodys_and_nobody_elses(pair):
    assert pair.run(lambda ranks: ranks.shard("abcde")) == ["ace", "bd"]
    assert SINGLE_PROCESS.shard("abcde") == "abcde"


def test_what_one_has_all_get_in_the_order_of_the_processes(pair):
    assert pair.run(lambda ranks: ranks.gather(lambda: ranks.rank * 10)) == [[0, 10], [0, 10]]
    assert pair.run(lambda ranks: ranks.all_reduce_sum(1.5, ranks.rank)) == [[3.0, 1], [3.0, 1]]
    assert (SINGLE_PROCESS.gather(lambda: 5), SINGLE_PROCESS.all_reduce_sum(1.5, 2)) == (
        [5],
        [1.5, 2],
    )


def test_what_the_first_does_nobody_else_does(pair):
    asked = []
    assert pair.run(lambda ranks: ranks.on_main(lambda: asked.append(ranks.rank) or "seen")) == [
        "seen",
        "seen",
    ]
    assert asked == [0]


@pytest.mark.parametrize("loser", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        ServiceTimeoutError("away"),
        BudgetExceededError("spent"),
        RewardHackingError("short"),
        ConfigError("no"),
        RequestRejectedError(413, "big", "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_ends_one_ends_all_with_the_same_words(pair, loser, error):
    def work():
        raise error

    ended = pair.run(
        lambda ranks: ranks.all_or_raise(work if ranks.rank == loser else lambda: "fine")
    )
    assert [type(found) for found in ended] == [type(error)] * 2
    assert [str(found) for found in ended] == [str(error)] * 2


def test_a_bug_is_no_agreement(pair):
    """It ends one with its traceback; the others find it gone."""

    def work(ranks):
        if ranks.rank == 1:
            pair.met.abort()  # what a closed connection is to a process
            raise KeyError("a bug")
        return ranks.all_or_raise(lambda: "fine")

    assert [type(found) for found in pair.run(work)] == [RankLostError, KeyError]


def test_who_was_interrupted_too_says_so_and_not_that_another_is_gone(pair, monkeypatch):
    monkeypatch.setattr(pair, "gather_object", lambda _: pair.met.wait(timeout=0))
    monkeypatch.setattr(distributed, "gather_object", pair.gather_object)
    signals._received.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            ProcessGroup(0, 2).barrier()
    finally:
        signals._received.clear()
    with pytest.raises(RankLostError, match="another process of this run has ended"):
        ProcessGroup(0, 2).barrier()


def test_gradients_add_up_also_where_one_has_none(pair):
    weights = [
        [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1, 2))]
        for _ in range(2)
    ]
    weights[0][0].grad, weights[0][1].grad = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]])
    weights[1][1].grad = torch.tensor([[10.0, 20.0]])
    pair.run(lambda ranks: ranks.add_gradients(weights[ranks.rank]))
    for mine in weights:
        torch.testing.assert_close(mine[0].grad, torch.tensor([1.0, 2.0]))
        torch.testing.assert_close(mine[1].grad, torch.tensor([[13.0, 24.0]]))


@pytest.mark.parametrize("objective", ["reinforce", "grpo", "gspo", "rloo"])
@pytest.mark.parametrize(
    "size", [1, 2, 8]
)  # of a micro-batch: 5, 3 and 1 of them, the last for one process alone
def test_two_processes_have_the_gradient_of_one(pair, objective, size):
    rlaif = {
        "generation_temperature": TEMPERATURE,
        "objective": objective,
        "kl_in": "loss",
        "entropy_coef": 0.1,
    }
    options = Config.model_validate({"training": {"micro_batch_size": size}, "rlaif": rlaif})
    experiences = [
        Experience(replace(one, updates=-1), value, value != 0.0)
        for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    policies = [tiny_policy() for _ in range(3)]

    def work(policy, ranks):
        done = accumulate(policy, adapter_off(policy), experiences, options, 0.3, ranks)
        kl = sample_kl(policy, adapter_off(policy), SAMPLES, options, ranks)
        kl.extend(
            value
            for values in sample_log_probs(policy, SAMPLES, options, ranks)
            for value in values
        )
        return done, kl, torch.cat([parameter.grad.flatten() for parameter in policy.trainable])

    alone, alone_kl, expected = work(policies[2], SINGLE_PROCESS)
    one, other = pair.run(lambda ranks: work(policies[ranks.rank], ranks))
    assert torch.equal(one[2], other[2])
    assert (one[2] - expected).norm() / expected.norm() < TINY_MODEL
    assert one[0] == other[0]
    for name in ("loss", "kl", "clip_fraction", "log_prob_gap", "ratio_max", "entropy"):
        assert getattr(one[0], name) == pytest.approx(getattr(alone, name), rel=TINY_MODEL), name
    assert one[1] == other[1] == pytest.approx(alone_kl, rel=TINY_MODEL)


def test_what_processes_send_of_samples_is_their_own_tokens_and_no_more(pair, monkeypatch):
    sent, gather = [], pair.gather_object

    def weighed(items):
        sent.append(len(pickle.dumps(items)))
        return gather(items)

    monkeypatch.setattr(distributed, "gather_object", weighed)
    options = Config.model_validate({"training": {"micro_batch_size": 8}})
    samples = [replace(one, ids=one.ids[:1] * 500) for one in SAMPLES for _ in range(4)]
    policies = [tiny_policy() for _ in range(2)]
    pair.run(lambda ranks: sample_log_probs(policies[ranks.rank], samples, options, ranks))
    assert max(sent) < 2 * len(samples) * 500 * 4  # bytes: float32 each


def test_the_first_writes_into_the_runs_folder_and_the_others_where_nobody_looks(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("one line\n")
    with ProcessGroup(0, 2).folder(tmp_path, ["metrics.jsonl"]) as folder:
        assert folder == tmp_path
    with ProcessGroup(1, 2).folder(tmp_path, ["metrics.jsonl"]) as folder:
        assert folder != tmp_path
        assert (folder / "metrics.jsonl").read_text() == "one line\n"
        (folder / "metrics.jsonl").write_text("another\n")
    assert not folder.exists()
    assert (tmp_path / "metrics.jsonl").read_text() == "one line\n"
