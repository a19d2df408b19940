"""`markbook score`: scores one file through a running service."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Annotated

import typer
from pydantic import ValidationError

from markbook.cli.files import read_text
from markbook.cli.options import ConfigOption, JsonOption, new_app
from markbook.config.loading import ConfigError
from markbook.contract import (
    ExtractedFrom,
    RequestUsage,
    Sample,
    Scored,
    ScoreRequest,
    TeacherStats,
    Unscored,
)
from markbook.scoring.cli.batches import wait_for_batch
from markbook.scoring.cli.client import UrlOption, dollars, service
from markbook.scoring.languages import of_file
from markbook.terminal import printable

UNSCORED = 1


app = new_app(
    "Scores a file through a running service. A mark that is stored already costs nothing. Exit "
    "status: 0 with a mark, 1 without one, 2 if no service could be called.",
    "markbook score add.py --prompt 'Write add(a, b) that returns the sum.'",
    "markbook score answer.rs --prompt-file task.md --json",
    "markbook score add.py --prompt-file task.md --tests test_add.py",
    "markbook score add.py --prompt-file task.md --batch",
    "cat add.py | markbook score - --language python --prompt-file task.md",
)


@app.command()
def score_file(
    file: Annotated[
        str, typer.Argument(help="Code, or a completion with fences; - for standard input.")
    ],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="The task.")] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with the task.")
    ] = None,
    tests: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Tests in Python: each statement of the file is one (assert ...)."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="python, c++, rs, ... (default: from the file's suffix)."
        ),
    ] = None,
    run: Annotated[
        str, typer.Option(metavar="NAME", help="The run that it is counted under.")
    ] = "shell",
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", help="Hand it over as a batch and wait: half the price, up to a day."
        ),
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    if (prompt is None) == (prompt_file is None):
        raise ConfigError("the task is needed once: give either --prompt or --prompt-file")
    language = language or of_file(file)
    if language is None:
        raise ConfigError(f"the name {file} does not show the language: set --language")
    task = read_text(prompt_file) if prompt_file is not None else prompt
    code = read_text(file)
    try:
        sample = Sample.model_validate(
            {"prompt": task, "language": language, "code": code, "tests": _tests(tests)}
        )
        request = ScoreRequest(run=run, samples=[sample])
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"--{fault['loc'][-1]} {fault['input']!r:.80}: {fault['msg']}") from error
    with service(url, config) as client:
        answer = wait_for_batch(client, [sample], run) if batch else client.score_request(request)
        teacher = client.stats(run).teacher
    [result] = answer.results
    if as_json:
        print(answer.model_dump_json(indent=2))
    else:
        print(*map(printable, _lines(result, teacher, answer.usage)), sep="\n")
    if not isinstance(result, Scored):
        raise typer.Exit(UNSCORED)


def _lines(result: Scored | Unscored, teacher: TeacherStats, usage: RequestUsage) -> Iterator[str]:
    if isinstance(result, Scored):
        yield f"mark      {result.score:.2f} of 1, from {_FROM[result.source.value]}"
        for name, mark in (result.criteria or {}).items():
            yield f"  {mark:.2f}    {name.replace('_', ' ')}"
        for reason in result.reasons:
            yield f"reason    {reason}"
        if result.tests is not None:
            not_run = f", {result.tests.not_run} not run" if result.tests.not_run else ""
            yield f"tests     {result.tests.passed} of {result.tests.total} passed{not_run}"
            if result.tests.first_failure:
                yield f"failed    {result.tests.first_failure}"
        if result.explanation:
            yield f"          {result.explanation}"
    else:
        yield f"unscored  {result.error.code}: {result.error.detail}"
        if result.error.retry_after_s is not None:
            yield f"          retry in {result.error.retry_after_s:g} s"
    yield f"code      {EXTRACTED[result.extracted_from]}"
    yield f"teacher   {teacher.description}"
    sent = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    yield (
        f"paid      {dollars(usage.cost_usd)}: {sent:,} tokens sent "
        f"({usage.cache_read_input_tokens:,} from the prompt cache), {usage.output_tokens:,} "
        "received"
    )
    yield f"key       {result.key}"


EXTRACTED = {
    ExtractedFrom.COMPLETION: "all of the text",
    ExtractedFrom.BLOCK: "a fenced block of the text",
    ExtractedFrom.BLOCK_CUT_OFF: "a fenced block that the end of the text cut off",
    ExtractedFrom.BEFORE_FENCE: "the text before a closing fence",
}
_FROM = {
    "heuristic": "the heuristic tier",
    "tests": "its tests",
    "cache": "the cache",
    "coalesced": "a call already in flight for another request",
    "teacher": "the teacher",
}


def _tests(name: str | None) -> list[str]:
    """The statements of a file of tests."""
    if name is None:
        return []
    text = read_text(name)
    try:
        statements = [ast.get_source_segment(text, node) or "" for node in ast.parse(text).body]
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"--tests {name} is not Python: {error}") from error
    if not statements:
        raise ConfigError(f"--tests {name} holds no test: each statement of it is one")
    return statements
