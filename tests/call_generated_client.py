"""Run by test_generated_client.py in the generator's own venv: imports the whole generated
client and calls URL.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import markbook_client
from markbook_client.api.scoring import get_mark, score
from markbook_client.api.statistics import get_stats
from markbook_client.models import ErrorBody, Sample, Scored, ScoreRequest, Unscored


def main(url: str) -> None:
    modules = [
        each.name for each in pkgutil.walk_packages(markbook_client.__path__, "markbook_client.")
    ]
    for module in modules:
        importlib.import_module(module)
    good = Sample(
        prompt="Write add(a, b).", language="python", code="def add(a, b):\n    return a + b"
    )
    rust = "pub fn add(a: i64, b: i64) -> i64 {\n    a + b\n}"
    untestable = Sample(
        prompt="Write add(a, b).", language="rust", code=rust, tests=["assert_eq!(add(1, 2), 3)"]
    )
    with markbook_client.Client(base_url=url) as client:
        answer = score.sync(
            client=client, body=ScoreRequest(run="generated", samples=[good, untestable])
        )
        scored, unscored = answer.results
        assert isinstance(scored, Scored), scored
        assert isinstance(unscored, Unscored), unscored
        mark = get_mark.sync(client=client, key=scored.key).marks[0]
        refused = get_stats.sync_detailed(client=client, run="no run")
        assert isinstance(refused.parsed, ErrorBody), refused
        stats = get_stats.sync(client=client, run="generated")
    found = {
        "modules": len(modules),
        "score": scored.score,
        "kept": mark.score,
        "year": mark.created_at.year,
        "unscored": unscored.error.code.value,
        "refused": [refused.status_code, refused.parsed.error, refused.parsed.field],
        "counted": stats.runs["generated"].samples,
        "teacher": stats.teacher.name,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
