"""How often a step waits for its device: reads of a number, and copies, which end the queue of a
GPU's kernels.
"""

from __future__ import annotations

import traceback

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from markbook.config.settings import Config
from markbook.trainer.gradients import Experience, accumulate
from markbook.trainer.model.reference import adapter_off
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.sample_stats import sample_kl
from markbook.trainer.step_sums import StepSums, SumsRead
from tests.tiny import tiny_policy
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}
"""Operations whose result's value or size the host has to know before it goes on."""


class Reads(TorchDispatchMode):
    """Counts them where the innermost file is one of the trainer's: transformers looks at its
    masks once a pass.
    """

    def __init__(self, monkeypatch):
        super().__init__()
        self.found: list[str] = []
        read = torch.Tensor.tolist

        def tolist(tensor):
            self.found.append("tolist")
            return read(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", tolist)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split(".")[0]
        waits = name in WAITING or (
            name == "aten::repeat_interleave" and not (kwargs or {}).get("output_size")
        )
        # a mask of bools as an index is looked through for its size
        waits |= name == "aten::index" and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if waits and "markbook/trainer" in next(
            frame.filename
            for frame in reversed(traceback.extract_stack()[:-1])
            if "markbook" in frame.filename
            or "transformers" in frame.filename
            or "peft" in frame.filename
        ):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def config(size, **rlaif):
    return Config.model_validate({"training": {"micro_batch_size": size}, "rlaif": rlaif})


def counted(monkeypatch, work):
    with monkeypatch.context() as patch, Reads(patch) as reads:
        work()
    return reads.found


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("estimator", ["k3", "exact"])
@pytest.mark.parametrize("loss", ["reinforce", "ppo_clip"])
def test_a_step_reads_its_sums_once_however_many_micro_batches_it_has(
    monkeypatch, size, estimator, loss
):
    policy = tiny_policy()
    experiences = [
        Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
    ]
    options = config(size, loss=loss, kl_estimator=estimator)
    work = lambda: accumulate(policy, adapter_off(policy), experiences, options, 0.1)  # noqa: E731
    assert counted(monkeypatch, work) == ["tolist"]


@pytest.mark.parametrize("size", [1, 5])
def test_the_kl_of_all_samples_is_read_once(monkeypatch, size):
    policy = tiny_policy()
    work = lambda: sample_kl(policy, adapter_off(policy), SAMPLES, config(size))  # noqa: E731
    assert counted(monkeypatch, work) == ["tolist"]


def test_sampling_reads_once_per_token_and_where_rows_end(monkeypatch):
    policy = tiny_policy()
    sampler = Sampler(policy, temperature=1.0, max_new_tokens=6, batch_size=8, seed=0)
    tasks = [SAMPLES[0].task, SAMPLES[1].task]
    ended = lambda ids: len(ids) == 6  # noqa: E731 - all rows at once, by length
    monkeypatch.setattr(sampler, "_ended", ended)
    assert counted(monkeypatch, lambda: list(sampler.groups(tasks, 2, (0, 1)))) == ["tolist"] * 6


def test_the_count_finds_a_read(monkeypatch):
    policy = tiny_policy()
    found = counted(monkeypatch, lambda: policy.read([(5, 6)]).hidden.sum().tolist())
    assert found == ["tolist"]
    import markbook.trainer.learner as learner

    # compiled under the name of a file of the trainer, as if it stood there
    code = compile(
        "value = float(tensor.sum()); rows = tensor[tensor > 0]", learner.__file__, "exec"
    )
    found = counted(monkeypatch, lambda: exec(code, {"tensor": torch.ones(3)}))
    assert found == ["aten::_local_scalar_dense", "aten::index"]


def test_sums_are_those_of_python_in_float64():
    sums, rows = (
        StepSums(torch.device("cpu")),
        torch.tensor([[0.1, -0.7], [0.3, 0.2], [-1.1, 0.05]]),
    )
    loss = kl = gap = ratio = entropy = 0.0
    for row in rows:
        sums.add(row[0], row[1], row, torch.tensor(2), row)
        loss, kl, gap = loss + row[0].item(), kl + row[1].item(), gap + row.abs().sum().item()
        ratio = max(ratio, row.max().exp().item())
        entropy += row.sum().item()
    assert sums.read() == SumsRead(loss, kl, gap, 6.0, ratio, entropy)
    # of two processes, one of which had nothing to do
    assert sums.read() + StepSums(torch.device("cpu")).read() == sums.read()
    assert (sums.read() + sums.read()).ratio_max == ratio
