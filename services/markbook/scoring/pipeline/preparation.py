"""Prepares samples: extracts the code from the completion and computes the mark's fingerprint."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from markbook.contract import Sample
from markbook.scoring.fingerprint import fingerprint, hash_tests
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.group_scorer import PreparedSample

YIELD_EVERY_CHARS = 20_000
"""Characters of completions after which the event loop is yielded: extraction of so many takes
milliseconds.
"""


async def prepare_samples(
    samples: Sequence[Sample], profile: str, *, use_tests: bool
) -> list[PreparedSample]:
    """One item per sample, in order. Without `use_tests` the samples' tests are ignored."""
    items: list[PreparedSample] = []
    chars = 0
    for sample in samples:
        if chars > YIELD_EVERY_CHARS:
            await asyncio.sleep(0)
            chars = 0
        items.append(_prepare(sample, profile, use_tests=use_tests))
        chars += len(sample.code)
    return items


def _prepare(sample: Sample, profile: str, *, use_tests: bool) -> PreparedSample:
    language = canonical(sample.language)
    code, judged = extract(sample.code, language)
    tests, setup = (tuple(sample.tests), sample.test_setup) if use_tests else ((), "")
    name = fingerprint(profile, sample.prompt, code, language, hash_tests(tests, setup))
    return PreparedSample(sample.prompt, language, code, judged, name, tests, setup)
