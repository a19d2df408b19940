"""max_staleness: the next batch is written while the marks of this one arrive, and none is lost
when a run stops.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict, deque
from concurrent.futures import Future, wait
from types import SimpleNamespace

import pytest

from markbook.trainer.learner import Learner
from markbook.trainer.rewards.client import RewardClient
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.rollout.queue import RolloutQueue
from markbook.trainer.run import BUDGET_SPENT, FINISHED
from markbook.trainer.utils.timer import Timer
from tests.unit.trainer.stub import StubService
from tests.unit.trainer.test_resume import RESUME, RLAIF, TRAINING, assert_equal, payer
from tests.unit.trainer.test_run import by_hash, lines

AHEAD = {"max_staleness": 1}
STEPS = {"eval_tasks": None, "max_steps": 4}


@pytest.fixture
def events(monkeypatch):
    """What a run does, as it does it: ("write", step), ("marks", step), ("step", updates
    before).
    """
    seen = []

    def noting(owner, name, event):
        original = getattr(owner, name)

        def noted(self, *args, **keywords):
            seen.append(event(self, *args))
            return original(self, *args, **keywords)

        monkeypatch.setattr(owner, name, noted)

    noting(RolloutQueue, "start", lambda _, draw, *__: ("write", draw.step))
    noting(RolloutQueue, "marks", lambda _, rollout: ("marks", rollout.draw.step))
    noting(Learner, "step", lambda learner, *_: ("learn", learner._policy.updates))
    return seen


@pytest.mark.parametrize(
    ("staleness", "expected"),
    [
        (0, "write 1, marks 1, learn 0, write 2, marks 2, learn 1, write 3, marks 3, learn 2"),
        (1, "write 1, write 2, marks 1, learn 0, write 3, marks 2, learn 1, marks 3, learn 2"),
    ],
)
def test_the_next_batch_is_written_before_the_marks_of_this_one_are_waited_for(
    run, events, staleness, expected
):
    with StubService(by_hash) as service:
        assert run(service, STEPS | {"max_steps": 3}, {"max_staleness": staleness}) == FINISHED
    assert ", ".join(f"{what} {step}" for what, step in events) == expected


def test_a_teacher_that_marks_a_batch_only_when_the_next_is_written_holds_nobody_up(
    run, tmp_path, monkeypatch
):
    written = {step: threading.Event() for step in range(1, 5)}
    due = defaultdict(deque)  # by task, the steps of its samples that are not marked yet
    original = RolloutQueue.start

    def start(rollouts, draw, tasks, num_generations):
        for task in tasks:
            due[task.prompt].extend([draw.step] * num_generations)
        rollout = original(rollouts, draw, tasks, num_generations)
        written[draw.step].set()
        return rollout

    monkeypatch.setattr(RolloutQueue, "start", start)

    def mark(sample):
        step = due[sample.prompt].popleft()
        assert written[min(step + 1, 4)].wait(timeout=60), (
            "the run waits for marks before it writes on"
        )
        return by_hash(sample)

    with StubService(mark) as service:
        assert run(service, STEPS, AHEAD) == FINISHED
    first, *others = lines(tmp_path / "run" / "metrics.jsonl")
    assert first["policy_lag"] == 0
    assert first["clip_fraction"] is None  # fresh samples need no correction
    assert {line["policy_lag"] for line in others} == {1}
    assert all(line["ratio_max"] > 1.001 and line["clip_fraction"] is not None for line in others)


class SlowWorld:
    """A clock that moves only while groups are written (10 s a batch), learned from (5 s) or waited
    for.

    The teacher is as slow as the student: a group's marks are there 10 s after it was sent.
    """

    def __init__(self, monkeypatch):
        self.now = 0.0
        world, groups, learn = self, Sampler.groups, Learner.step

        def slow_groups(*args):
            for found in groups(*args):
                world.now += 5.0  # two groups a batch
                yield found

        def slow_learn(*args):
            world.now += 5.0
            return learn(*args)

        class Arriving(Future):
            def result(self, timeout=None):
                world.now = max(world.now, self.there)
                return super().result(timeout)

        def submit(_, __, samples, request_id=None):
            arriving = Arriving()
            arriving.there = world.now + 10.0
            arriving.set_result([by_hash(SimpleNamespace(code=sample.text)) for sample in samples])
            return arriving

        monkeypatch.setattr(Sampler, "groups", slow_groups)
        monkeypatch.setattr(Learner, "step", slow_learn)
        monkeypatch.setattr(RewardClient, "submit", submit)
        monkeypatch.setattr("markbook.trainer.loop.Timer", lambda: Timer(lambda: world.now))


@pytest.mark.parametrize(
    ("staleness", "seconds", "waiting"),
    [
        (0, [25.0] * 4, [0.4] * 4),  # write 10, wait 10, learn 5
        (
            1,
            [25.0, 15.0, 15.0, 10.0],
            [0.0, 0.0, 0.0, 0.5],
        ),  # at the end there is nothing left to write
    ],
)
def test_with_a_teacher_as_slow_as_the_student_waiting_is_gone(
    run, tmp_path, monkeypatch, staleness, seconds, waiting
):
    SlowWorld(monkeypatch)
    with StubService(by_hash) as service:
        assert run(service, STEPS, {"max_staleness": staleness}) == FINISHED
    found = lines(tmp_path / "run" / "metrics.jsonl")
    assert [line["seconds"] for line in found] == pytest.approx(seconds)
    assert [line["frac_waiting"] for line in found] == pytest.approx(waiting)
    share = sum(line["seconds_scoring"] for line in found) / sum(line["seconds"] for line in found)
    assert (share < 0.1) == (staleness == 1)


@pytest.fixture
def in_turn(monkeypatch):
    """Groups are marked in the order in which they are written."""
    submit = RewardClient.submit

    def waited_for(*args):
        future = submit(*args)
        wait([future])
        return future

    monkeypatch.setattr(RewardClient, "submit", waited_for)


@pytest.fixture
def unbroken(run, tmp_path):
    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF | AHEAD) == FINISHED
    (tmp_path / "run").rename(tmp_path / "unbroken")
    return tmp_path / "unbroken"


@pytest.mark.usefixtures("in_turn")
def test_a_budget_that_ends_with_a_batch_on_its_way_loses_nothing(run, unbroken, tmp_path):
    # the evaluation and two steps are paid for, and of the third batch, on its way since step 2, a
    # part
    with StubService(payer(6 + 8 + 8 + 3)) as service:
        assert run(service, TRAINING, RLAIF | AHEAD) == BUDGET_SPENT
        ids = {request.request_id for request in service.requests if len(request.samples) == 4}
    assert lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 2
    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF | AHEAD, RESUME) == FINISHED
        again = {request.request_id for request in service.requests if request.run == "test-run"}
    assert len(again) == 4  # the third batch and the fourth
    assert again < ids  # both had been asked for
    assert_equal(tmp_path / "run", unbroken)


def test_killed_with_a_batch_on_its_way_it_goes_on_as_if_it_had_not_been(run, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-4")
    with StubService(by_hash) as service:
        assert run(service, TRAINING, RLAIF | AHEAD, RESUME) == FINISHED
        # of step 4, which was written by the policy before step 3: its samples were kept
        assert len([request for request in service.requests if request.run == "test-run"]) == 2
    assert_equal(tmp_path / "run", unbroken)


@pytest.mark.usefixtures("in_turn")
def test_what_was_on_its_way_is_used_also_where_the_next_is_not_written_ahead_any_more(
    run, tmp_path
):
    with StubService(payer(2 * 8)) as service:
        assert run(service, STEPS, AHEAD) == BUDGET_SPENT
    with StubService(by_hash) as service:
        assert run(service, STEPS, None, RESUME) == FINISHED
    assert [line["policy_lag"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [
        0,
        1,
        1,
        0,
    ]
