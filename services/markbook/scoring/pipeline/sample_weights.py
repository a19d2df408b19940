"""How the list of samples scores stored criteria: with the weights of the rubric in use, and
tests where they ran.
"""

from __future__ import annotations

import hashlib
import json

from markbook.scoring.pipeline.sample_tests import with_verdict
from markbook.scoring.prompts.rubric import Rubric
from markbook.scoring.store.sample_rows import Weights


def sample_weights(profile: str, rubric: Rubric) -> Weights:
    """How the list of samples scores what is stored: as a request would be answered now."""
    version = hashlib.sha256(json.dumps(dict(rubric.criteria)).encode()).hexdigest()[:12]
    return Weights(
        profile, version, lambda criteria, tests: rubric.score(with_verdict(criteria, tests))
    )
