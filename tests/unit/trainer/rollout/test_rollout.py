"""Sampling: exact draws, seeds of their own, ends where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from markbook.trainer.rollout.hf import Sampler, draw
from markbook.trainer.types import Task
from tests.tiny import tiny_policy, tiny_tokenizer

TASKS = [
    Task(0, "a", "python", (40, 41, 42, 43, 44, 45)),
    Task(1, "b", "python", (50, 51)),
    Task(2, "c", "rust", (60,)),
]


def sampler(policy, batch_size=64, max_new_tokens=12, seed=0):
    return Sampler(
        policy, temperature=0.9, max_new_tokens=max_new_tokens, batch_size=batch_size, seed=seed
    )


def drawn(policy, tasks, num_generations=4, stream=(0, 1), **settings):
    groups = dict(sampler(policy, **settings).groups(tasks, num_generations, stream))
    return [groups[place] for place in range(len(tasks))]


def test_draw_inverts_the_distribution():
    logits = torch.tensor([0.1, 0.0, 0.6, 0.3]).log().expand(5, 4)
    uniforms = torch.tensor([0.0, 0.0999, 0.1001, 0.6999, 0.7001], dtype=torch.float64)
    assert draw(logits, uniforms).tolist() == [0, 0, 2, 2, 3]


def test_a_word_without_probability_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, 3)
    assert draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [1, 1]


def test_draws_follow_the_distribution():
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000))
    shares = draw(logits.expand(20_000, 50), uniforms).bincount(minlength=50) / 20_000
    assert (shares - logits.softmax(-1)).abs().max() < 0.01


def test_a_sample_knows_how_likely_each_of_its_tokens_was():
    policy = tiny_policy()
    samples = [sample for group in drawn(policy, TASKS) for sample in group]
    assert len({len(sample.ids) for sample in samples}) > 1
    found = torch.tensor([value for sample in samples for value in sample.log_probs])
    torch.testing.assert_close(found, policy.log_probs(samples, 0.9).detach(), rtol=0, atol=1e-4)


def test_a_share_of_the_tasks_gets_the_samples_it_would_have_in_the_whole_batch():
    policy = tiny_policy()
    together = drawn(policy, TASKS)
    assert dict(sampler(policy).groups(TASKS, 4, (0, 1), [2, 0])) == {
        0: together[0],
        2: together[2],
    }
    assert dict(sampler(policy).groups(TASKS, 4, (0, 1), [])) == {}


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_a_sample_does_not_depend_on_its_batch(batch_size):
    policy = tiny_policy()
    together = drawn(policy, TASKS)
    assert drawn(policy, TASKS, batch_size=batch_size) == together
    assert drawn(policy, TASKS[:1])[0] == together[0]


def test_the_same_stream_gives_the_same_samples_and_another_gives_others():
    policy = tiny_policy()
    first = drawn(policy, TASKS)
    assert drawn(policy, TASKS) == first
    assert drawn(policy, TASKS, stream=(0, 2)) != first
    assert drawn(policy, TASKS, stream=(1, 1)) != first
    assert drawn(policy, TASKS, seed=1) != first
    assert len({sample.ids for sample in first[0]}) > 1


def test_samples_follow_the_adapter():
    assert drawn(tiny_policy(moved=False), TASKS) != drawn(tiny_policy(), TASKS)


def script(policy, monkeypatch, texts):
    """Make the policy write `texts`, a row each, whatever its logits."""
    tokenizer = tiny_tokenizer()
    rows = [tokenizer(text)["input_ids"] for text in texts]
    position = iter(range(1000))

    def scripted(_logits, uniforms):
        step = next(position)
        return torch.tensor([rows[round(float(u))][step] for u in uniforms])

    monkeypatch.setattr("markbook.trainer.rollout.hf.draw", scripted)
    monkeypatch.setattr(
        Sampler,
        "_uniforms",
        lambda self, n, _: np.repeat(np.arange(n)[:, None], self._max_new_tokens, 1).astype(float),
    )


@pytest.mark.parametrize(
    ("written", "kept", "truncated"),
    [
        ("```python\nx\n```\nmore", "```python\nx\n```", False),
        ("hm\n```\nx\n```\nmore", "hm\n```\nx\n```", False),
        ("```\n```\nmore", "```\n```", False),
        ("````\nx\n```\ny\n````\n.", "````\nx\n```\ny\n````", False),
        ("x = '```'\ny\n```\n", "x = '```'\ny\n```\n", True),
        ("```python\nx ``` y\nzzz", "```python\nx ``` y\nzzz", True),
        ("ab</s>cdef", "ab", False),
    ],
)
def test_a_sample_ends_at_its_end_token_or_its_closing_fence(monkeypatch, written, kept, truncated):
    policy = tiny_policy()
    script(policy, monkeypatch, [written])
    count = len(tiny_tokenizer()(written)["input_ids"])
    [[sample]] = drawn(policy, TASKS[:1], num_generations=1, max_new_tokens=count)
    assert (sample.text, sample.truncated) == (kept, truncated)
    assert (sample.ids[-1] == 1) == ("</s>" in written)  # the end token is part of what was written


def test_rows_that_are_done_leave_and_the_others_go_on(monkeypatch):
    policy = tiny_policy()
    script(policy, monkeypatch, ["abcdef", "a</s>cdef", "ab</s>def"])
    [group] = drawn(policy, TASKS[:1], num_generations=3, max_new_tokens=6)
    assert [sample.text for sample in group] == ["abcdef", "a", "ab"]
    assert [sample.truncated for sample in group] == [True, False, False]


def test_a_group_is_handed_over_before_the_next_is_written():
    policy = tiny_policy()
    groups = sampler(policy, batch_size=2).groups(TASKS, 2, (0, 1))
    assert next(groups)[0] == 0
    groups.close()
    assert not any(
        "forward" in vars(module) for module in policy.model.modules()
    )  # the fold was undone
