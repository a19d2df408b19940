"""`score`: marks a file from the shell, through the running service and its book."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from markbook.config.loading import ConfigError
from markbook.contract import RequestUsage, Sample, Scored, ScoreRequest, TeacherStats, Unscored
from markbook.scoring.cli import Subparsers, add_command
from markbook.scoring.cli.client import add_service, dollars, service
from markbook.scoring.languages import of_file
from markbook.terminal import printable

UNSCORED = 1


def register(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "score",
        "Asks a running service for the mark of a file, with a task as its prompt. Exit status: 0 with a mark, 1 "
        "without one, 2 when nobody could be asked. What is in the book already costs nothing.",
        "score add.py --prompt 'Write add(a, b) that returns the sum.'",
        "score answer.rs --prompt-file task.md --json",
        "score add.py --prompt-file task.md --tests test_add.py",
        "cat add.py | python -m markbook.scoring score - --language python --prompt-file task.md",
    )
    parser.add_argument("file", metavar="FILE", help="the code, or a completion with fences; - for standard input")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--prompt", metavar="TEXT", help="the task")
    task.add_argument("--prompt-file", metavar="FILE", help="a file with the task")
    parser.add_argument(
        "--tests", metavar="FILE", help="tests of the code, in Python: each statement of the file is one (assert …)"
    )
    parser.add_argument("--language", metavar="NAME", help="python, c++, rs, … (default: by the file's suffix)")
    parser.add_argument(
        "--run", dest="under", metavar="NAME", default="shell", help="counted under this run (default: shell)"
    )
    parser.add_argument("--json", action="store_true", help="the service's answer as it is")
    add_service(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    language = arguments.language or of_file(arguments.file)
    if language is None:
        raise ConfigError(f"the name {arguments.file} does not tell the language: say --language")
    prompt = _read(arguments.prompt_file) if arguments.prompt is None else arguments.prompt
    code = _read(arguments.file)
    try:
        sample = Sample(prompt=prompt, language=language, code=code, tests=_tests(arguments.tests))
        request = ScoreRequest(run=arguments.under, samples=[sample])
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"--{fault['loc'][-1]} {fault['input']!r:.80}: {fault['msg']}") from error
    with service(arguments) as client:
        answer = client.score_request(request)
        teacher = client.stats(arguments.under).teacher
    [result] = answer.results
    if arguments.json:
        print(answer.model_dump_json(indent=2))
    else:
        print(*map(printable, _lines(result, teacher, answer.usage)), sep="\n")
    return 0 if isinstance(result, Scored) else UNSCORED


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
            yield f"          ask again in {result.error.retry_after_s:g} s"
    yield f"judged    {result.extracted_from.value.replace('_', ' ')}"
    yield f"teacher   {teacher.description}"
    sent = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    yield (
        f"paid      {dollars(usage.cost_usd)}: {sent:,} tokens sent ({usage.cache_read_input_tokens:,} from the prompt "
        f"cache), {usage.output_tokens:,} received"
    )
    yield f"key       {result.key}"


_FROM = {
    "heuristic": "the heuristic tier",
    "tests": "its tests",
    "cache": "the book",
    "coalesced": "a call that another had made at the same time",
    "teacher": "the teacher",
}


def _tests(name: str | None) -> list[str]:
    """The statements of a file of tests."""
    if name is None:
        return []
    text = _read(name)
    try:
        statements = [ast.get_source_segment(text, node) or "" for node in ast.parse(text).body]
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"--tests {name} is not Python: {error}") from error
    if not statements:
        raise ConfigError(f"--tests {name} holds no test: each statement of it is one")
    return statements


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text") from error
