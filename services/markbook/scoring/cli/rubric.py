"""`markbook rubric`: checks a rubric file, and shows the exact request that a teacher would
receive, both without network; tries a rubric on stored samples (rubric_try.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from markbook.cli.files import read_text
from markbook.cli.options import ConfigOption, JsonOption, new_app, table
from markbook.config.loading import ConfigError, load_config
from markbook.config.settings import Config
from markbook.scoring.cli.rubric_try import try_rubric
from markbook.scoring.languages import canonical, of_file
from markbook.scoring.pipeline.code_extraction import extract
from markbook.scoring.prompts.prompt import estimate_tokens, truncate_task
from markbook.scoring.prompts.rubric import Rubric, load_rubric
from markbook.scoring.teachers.anthropic.reply_parser import reply_tokens
from markbook.scoring.teachers.anthropic.request import RequestBuilder
from markbook.scoring.teachers.protocol import Group

TASK = "Write add(a, b) that returns the sum."
CODES = ("def add(a, b):\n    return a + b", "def add(a, b):\n    return a - b")

app = new_app(
    "Checks, shows and tries rubrics. Without FILE the configured one (teacher.rubric), else the "
    "built-in one.",
    "markbook rubric check my-rubric.md",
    "markbook rubric show my-rubric.md",
    "markbook rubric show --prompt-file task.md --code a.py --code b.py --json",
    "markbook rubric try my-rubric.md --from-store 5",
)
app.command("try")(try_rubric)

FileArgument = Annotated[str | None, typer.Argument(help="A rubric file.")]


@dataclass(frozen=True, slots=True)
class RubricReport:
    """`instructions_tokens`: of everything that is sent beside task and samples, estimated.
    `cache_floor`: tokens of the shortest prompt that the model caches, None if unknown.
    `reply_tokens`: output limit of a full group.
    """

    version: str
    criteria: dict[str, float]
    model: str
    instructions_tokens: int
    cache_floor: int | None
    cached: bool
    reply_tokens: int
    warnings: list[str]


@app.command()
def check(
    file: FileArgument = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Check a rubric: criteria, weights, and its length against the least that the model caches.

    Exit status: 0 it can be used, 2 it cannot, with the reason.
    """
    settings = load_config(config)
    rubric = load_rubric(file or settings.teacher.rubric)
    report = inspect(rubric, settings)
    if as_json:
        print(json.dumps({name: getattr(report, name) for name in report.__slots__}, indent=2))
    else:
        print(*_lines(report), sep="\n")


@app.command()
def show(
    file: FileArgument = None,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The task.")] = TASK,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with the task.")
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A sample; repeat it for a group (default: an example)."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the exact request that the configured teacher would be sent for a task and samples."""
    settings = load_config(config)
    rubric = load_rubric(file or settings.teacher.rubric)
    task = prompt if prompt_file is None else read_text(prompt_file)
    request = _builder(rubric, settings).build(
        _group(task, code or [], settings), list(range(len(code or CODES)))
    )
    if as_json:
        print(json.dumps(request, indent=2, ensure_ascii=False))
        return
    rest = {name: value for name, value in request.items() if name not in ("system", "messages")}
    for block in request.get("system", []):
        print(f"--- system, cached for {block['cache_control']['ttl']}\n{block['text']}")
    print(f"--- user\n{request['messages'][0]['content']}\n--- other fields\n{json.dumps(rest)}")


def inspect(rubric: Rubric, config: Config) -> RubricReport:
    """Facts and warnings about a rubric for the configured teacher."""
    builder = _builder(rubric, config)
    teacher = config.teacher
    warnings = []
    if (short := builder.uncached_tokens()) is not None:
        warnings.append(
            f"{teacher.model} caches prompts of at least {short[1]} tokens, the instructions have "
            f"about {short[0]}: every call pays for them in full"
        )
    if "correctness" not in rubric.criteria:
        warnings.append(
            "no criterion is called correctness: the tests of a task cannot decide any of its marks"
        )
    floor = builder.facts.cache_floor
    return RubricReport(
        version=rubric.version,
        criteria=dict(rubric.criteria),
        model=teacher.model,
        instructions_tokens=estimate_tokens(builder.instructions),
        cache_floor=floor,
        cached=bool(builder.system) and short is None,
        reply_tokens=reply_tokens(
            teacher.max_group_size, len(rubric.criteria), explain=teacher.explain
        ),
        warnings=warnings,
    )


def _lines(report: RubricReport) -> Iterator[str]:
    yield f"version       {report.version}"
    yield f"instructions  about {report.instructions_tokens:,} tokens per call, {_caching(report)}"
    yield f"reply         at most {report.reply_tokens:,} tokens for a full group"
    yield ""
    yield from table(
        [
            ("CRITERION", "WEIGHT"),
            *((name, f"{weight:g}") for name, weight in report.criteria.items()),
        ],
        numbers_from=1,
    )
    for warning in report.warnings:
        yield f"warning: {warning}"


def _caching(report: RubricReport) -> str:
    if not report.cached:
        return f"not cached by {report.model}"
    if report.cache_floor is None:
        return f"marked for caching ({report.model} is unknown)"
    return f"cached by {report.model}"


def _builder(rubric: Rubric, config: Config) -> RequestBuilder:
    return RequestBuilder(
        config.teacher, rubric, rubric_in_system_prompt=config.rlaif.move_rubric_to_system_prompt
    )


def _group(task: str, files: list[str], config: Config) -> Group:
    """The samples as the service would group them: extracted code, the task truncated as
    configured.
    """
    rlaif = config.rlaif
    languages = {of_file(name) for name in files} or {"python"}
    if len(languages) != 1 or None in languages:
        raise ConfigError(
            "the files of one group have one language, known from their suffix: check --code"
        )
    language = canonical(str(languages.pop()))
    codes = tuple(extract(read_text(name), language).code for name in files) or CODES
    shown = truncate_task(
        task,
        truncate=rlaif.truncate_prompt_for_scoring,
        chars=rlaif.prompt_context_chars,
        policy=rlaif.prompt_context_policy,
    )
    return Group("0", shown, language, codes)
