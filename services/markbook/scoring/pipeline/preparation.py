"""Samples made ready: their code found in the completion, and their marks named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from markbook.contract import Sample
from markbook.scoring.fingerprint import fingerprint, hash_tests
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.pipeline.group_scorer import PreparedSample

YIELD_EVERY_CHARS = 20_000
"""Characters of completions after which other requests have a turn: to find the code in so many takes milliseconds."""


async def prepared(samples: Sequence[Sample], profile: str, *, use_tests: bool) -> list[PreparedSample]:
    """An item per sample, in order. Without `use_tests` a sample is as if it had none."""
    items: list[PreparedSample] = []
    chars = 0
    for sample in samples:
        if chars > YIELD_EVERY_CHARS:
            await asyncio.sleep(0)
            chars = 0
        items.append(_prepared(sample, profile, use_tests=use_tests))
        chars += len(sample.code)
    return items


def _prepared(sample: Sample, profile: str, *, use_tests: bool) -> PreparedSample:
    language = canonical(sample.language)
    code, judged = extract(sample.code, language)
    tests, setup = (tuple(sample.tests), sample.test_setup) if use_tests else ((), "")
    name = fingerprint(profile, sample.prompt, code, language, hash_tests(tests, setup))
    return PreparedSample(sample.prompt, language, code, judged, name, tests, setup)
