"""A GPU whose memory does not suffice, imitated by a policy that takes so many samples at a time
and no more.
"""

from __future__ import annotations

import pytest
import torch

from markbook.config.loading import ConfigError
from markbook.config.settings import Config, Training
from markbook.trainer import gradients as module
from markbook.trainer import learner as learner_module
from markbook.trainer.distributed import SINGLE_PROCESS
from markbook.trainer.errors import GpuMemoryError
from markbook.trainer.gradients import Experience
from markbook.trainer.learner import Learner
from markbook.trainer.micro_batches import MicroBatches, gather_within_memory
from markbook.trainer.model import loading
from markbook.trainer.model.policy import LanguageModel, Policy
from markbook.trainer.model.reference import Reference, adapter_off
from markbook.trainer.run import FINISHED, OUT_OF_MEMORY
from tests.tiny import tiny_policy
from tests.unit.trainer.model.test_policy import ADVANTAGES, SAMPLES
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_resume import RESUME, assert_equal
from tests.unit.trainer.test_run import adapter, by_hash, lines

EXPERIENCES = [
    Experience(one, value, value != 0.0) for one, value in zip(SAMPLES, ADVANTAGES, strict=True)
]
TOO_LITTLE = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 79 GiB."
)


def learner(size, **rlaif):
    policy = tiny_policy(Training(lora_r=4, lora_alpha=8, lora_dropout=0.2))
    options = Config.model_validate(
        {"training": {"micro_batch_size": size, "learning_rate": 0.01}, "rlaif": rlaif}
    )
    return policy, Learner(policy, adapter_off(policy), options)


def weights(policy):
    return torch.cat([parameter.detach().flatten() for parameter in policy.trainable])


def limited(monkeypatch, most, where):
    """From now on more than `most` samples at a time do not fit, there."""
    read = where.states

    def states(self, samples):
        if len(samples) > most:
            raise TOO_LITTLE
        return read(self, samples)

    monkeypatch.setattr(where, "states", states)


def steps(policy, learner, count=2):
    torch.manual_seed(7)  # of dropout
    found = []
    for _ in range(count):
        penalty = learner.reward_kl(SAMPLES)
        found.append(learner.step(EXPERIENCES, penalty))
    return found, weights(policy)


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
@pytest.mark.parametrize("where", [LanguageModel, Reference])
def test_the_size_is_halved_once_and_the_steps_are_those_of_the_half(
    monkeypatch, capsys, kl_in, where
):
    """Five samples in fours: a full micro-batch fails after nothing, in twos all fit.

    With dropout.
    """
    expected = steps(*learner(2, kl_in=kl_in, kl_estimator="exact"))
    limited(monkeypatch, 3, where)
    policy, short = learner(4, kl_in=kl_in, kl_estimator="exact")
    found = steps(policy, short)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])
    assert all(parameter.grad is None for parameter in policy.trainable)
    said = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert said == [
        "out of GPU memory with training.micro_batch_size 4: continuing with 2; the step is done "
        "again and nothing of it is lost"
    ]


def test_what_a_failed_attempt_has_added_to_the_gradient_is_dropped(monkeypatch):
    """The first micro-batch of two succeeds, and the second fails in its backward pass."""
    expected = steps(*learner(1), count=1)
    policy, short = learner(2)
    backward, calls = torch.Tensor.backward, []

    def failing(tensor, *arguments, **named):
        calls.append(tensor)
        if len(calls) == 2:
            assert policy.trainable[-1].grad.abs().sum() > 0
            raise TOO_LITTLE
        return backward(tensor, *arguments, **named)

    monkeypatch.setattr(torch.Tensor, "backward", failing)
    found = steps(policy, short, count=1)
    assert len(calls) == 2 + 5
    assert found[0] == expected[0]  # the padding that was read counts once, too
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(("size", "most"), [(4, 1), (1, 0)])
def test_what_does_not_fit_in_half_either_leaves_the_policy_as_it_was(monkeypatch, size, most):
    policy, short = learner(size)
    before = weights(policy)
    limited(monkeypatch, most, LanguageModel)
    with pytest.raises(
        GpuMemoryError, match=r"with . samples at a time: lower training\.micro_batch_size"
    ):
        short.step(EXPERIENCES)
    assert torch.equal(weights(policy), before)
    assert policy.updates == 0
    assert all(parameter.grad is None for parameter in policy.trainable)


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    _, short = learner(4)

    def broken(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(LanguageModel, "states", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        short.step(EXPERIENCES)
    assert short.micro_batches.size == 4


def test_all_processes_halve_where_one_lacks_memory():
    class Group:
        """Two processes, of which the other one has failed."""

        def gather(self, work):
            return [work(), None]

    with pytest.raises(GpuMemoryError):
        gather_within_memory(lambda: 1, Group(), 4)
    assert gather_within_memory(lambda: 1, SINGLE_PROCESS, 4) == [1]


def test_the_halved_size_is_kept_unless_another_is_configured():
    halved, same, other = MicroBatches(8), MicroBatches(8), MicroBatches(6)
    halved.size = 4
    for one in (same, other):
        one.restore(halved.state())
    assert (same.size, other.size) == (4, 6)
    same.restore(MicroBatches(8).state())
    assert same.size == 4
    assert MicroBatches(8).state() == {}  # a checkpoint holds nothing new


def test_a_run_that_halved_equals_one_in_halves_also_when_it_is_resumed(
    run, tmp_path, monkeypatch, capsys
):
    training = {"max_steps": 4, "lora_dropout": 0.2}
    with StubService(by_hash) as service:
        assert run(service, training | {"micro_batch_size": 2}) == FINISHED
        (tmp_path / "run").rename(tmp_path / "halves")
        limited(monkeypatch, 2, LanguageModel)
        step, count = Learner.step, []

        def interrupted(self, *arguments):
            count.append(self.micro_batches.size)
            if len(count) == 3:
                raise KeyboardInterrupt
            return step(self, *arguments)

        monkeypatch.setattr(Learner, "step", interrupted)
        assert run(service, training | {"micro_batch_size": 4}) == 130
        assert run(service, training | {"micro_batch_size": 4}, arguments=RESUME) == FINISHED
    assert count == [4, 2, 2, 2, 2]
    assert capsys.readouterr().out.count("out of GPU memory") == 1
    assert_equal(tmp_path / "run", tmp_path / "halves")


def test_a_run_that_does_not_fit_ends_in_one_line_and_goes_on_with_a_smaller_size(
    run, tmp_path, monkeypatch, capsys
):
    with StubService(by_hash) as service:
        assert run(service, {"micro_batch_size": 1}) == FINISHED
        (tmp_path / "run").rename(tmp_path / "ones")
        add = module._add_gradients

        def limited_learning(policy, held, micro_batches, *more):
            if max(map(len, micro_batches)) > 1:
                raise TOO_LITTLE
            return add(policy, held, micro_batches, *more)

        monkeypatch.setattr(module, "_add_gradients", limited_learning)
        assert run(service, {"micro_batch_size": 4}) == OUT_OF_MEMORY
        said = capsys.readouterr()
        assert said.err.startswith("out of GPU memory in learning with 2 samples at a time")
        assert said.err.count("\n") == 1
        assert (tmp_path / "run" / "adapter").is_dir()
        assert run(service, {"micro_batch_size": 1}, arguments=RESUME) == FINISHED
    assert [line["step"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    ones = adapter(tmp_path / "ones")
    assert all(
        torch.equal(tensor, ones[name]) for name, tensor in adapter(tmp_path / "run").items()
    )


@pytest.mark.parametrize(("fails", "kept"), [(3, ["step-0", "step-1"]), (4, ["start", "step-0"])])
def test_a_step_that_memory_ended_is_done_again_as_if_it_had_not_begun(
    run, tmp_path, monkeypatch, fails, kept
):
    """Before its first update the step before it is saved; between its two updates the last
    checkpoint stays.
    """
    training, twice = (
        {"max_steps": 2, "save_every_steps": 2},
        {"updates_per_batch": 2, "epochs_per_batch": 2},
    )
    accumulate, calls = learner_module.accumulate, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == fails:
            raise GpuMemoryError("full")
        return accumulate(*arguments)

    with StubService(by_hash) as service:
        assert run(service, training, twice) == FINISHED
        (tmp_path / "run").rename(tmp_path / "unbroken")
        monkeypatch.setattr(learner_module, "accumulate", failing)
        monkeypatch.setattr(MicroBatches, "run", lambda self, policy, work: work(self.size))
        assert run(service, training, twice) == OUT_OF_MEMORY
        assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == kept
        assert run(service, training, twice, RESUME) == FINISHED
    assert_equal(tmp_path / "run", tmp_path / "unbroken")


def test_the_check_of_a_model_does_not_take_a_full_gpu_for_a_bad_model(monkeypatch):
    def full(_):
        raise TOO_LITTLE

    monkeypatch.setattr(Policy, "_gap_to_plain_forward", full)
    with pytest.raises(
        ConfigError,
        match=r"^the GPU has too little free memory .* Tried to allocate 2\.00 GiB\. GPU",
    ):
        tiny_policy()


def test_a_model_that_does_not_fit_is_refused_in_one_line(monkeypatch, student):
    class Huge(torch.nn.Module):
        def to(self, _):
            raise TOO_LITTLE

    monkeypatch.setattr(
        loading.transformers.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: Huge()
    )
    with pytest.raises(
        ConfigError, match=r"^the GPU has too little free memory for training\.model"
    ) as refused:
        loading.load_base(Training(model=str(student), device="cpu"))
    assert "\n" not in str(refused.value)
