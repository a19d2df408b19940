"""`--dry-run`: loads everything a run needs and tries it on one group."""

from __future__ import annotations

import math
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from markbook.config.settings import Config
from markbook.contract import Counters, Result, Scored, Source, Unscored
from markbook.trainer.data.task_sampling import TaskSampler
from markbook.trainer.errors import ServiceTimeoutError
from markbook.trainer.loop import TRAINING, Trainer
from markbook.trainer.types import Sample


def dry_run(trainer: Trainer, config_file: Path | None = None) -> None:
    """Generate and score the first group of the run, and print its marks and its price.

    With the same seed the first step of the run has the same samples and finds their marks stored.
    `config_file`: what `--config` named, for the command that is printed last. Raises
    ServiceTimeoutError where none of them gets a mark.
    """
    config, run = trainer.config, f"{trainer.name}/dry-run"
    started = time.perf_counter()
    task = TaskSampler(trainer.tasks, config.training, {}).step(1)[0]
    [(_, samples)] = trainer.sampler.groups(
        [task], config.rlaif.num_samples_per_prompt, (TRAINING, 1)
    )
    print(written(samples, time.perf_counter() - started, config), flush=True)
    results = trainer.marker.submit(run, samples).result()
    print(marked(results))
    print(price(trainer.marker.counters(run)))
    print(next_step(config, samples, config_file))


def written(samples: Sequence[Sample], seconds: float, config: Config) -> str:
    tokens = sum(len(sample.ids) for sample in samples)
    cut_off = sum(sample.truncated for sample in samples)
    return (
        f"generated one group: {len(samples)} samples, {tokens:,} tokens in {seconds:.1f} s, "
        f"{cut_off} cut off at "
        f"training.max_new_tokens ({config.training.max_new_tokens})\n"
        "asking for their marks, which are paid for; the run itself will find them stored"
    )


def marked(results: Sequence[Result]) -> str:
    scored = [result for result in results if isinstance(result, Scored)]
    errors = {
        f"{one.error.code.value}: {one.error.detail}"
        for one in results
        if isinstance(one, Unscored)
    }
    if not scored:
        raise ServiceTimeoutError(f"none of the samples got a mark: {'; '.join(sorted(errors))}")
    counts = Counter(result.source for result in scored)
    sources = ", ".join(f"{source.value} {counts[source]}" for source in Source)
    marks = " ".join(f"{result.score:.2f}" for result in scored)
    return f"marks: {marks} ({sources}, unscored {len(results) - len(scored)})"


def price(counted: Counters) -> str:
    """What the teacher calls of this group cost, as the service counted them."""
    if not counted.teacher_calls:
        return "teacher: this group needed no call"
    cost = "price unknown" if counted.cost_usd is None else f"${counted.cost_usd:.4f}"
    cached = " (the first call writes the rubric to the prompt cache; later ones cost less)"
    return (
        f"teacher: {counted.teacher_calls} calls, {counted.api_tokens_sent:,} tokens sent, "
        f"{counted.api_tokens_received:,} received, "
        f"{cost}{cached if counted.cache_creation_input_tokens else ''}"
    )


def next_step(config: Config, samples: Sequence[Sample], config_file: Path | None = None) -> str:
    """The command that estimates the cost of the whole run, with the mean length measured here."""
    mean_tokens = sum(len(sample.ids) for sample in samples) / len(samples)
    command = ["markbook", "estimate", config.training.tasks]
    command += ["--code-tokens", str(math.ceil(mean_tokens))]
    if config_file is not None:
        command += ["--config", str(config_file)]
    return f"estimate the cost of the whole run with: {shlex.join(command)}"
