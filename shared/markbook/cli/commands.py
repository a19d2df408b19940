"""Which commands there are, and where each is: names only, so that `markbook --help` imports
none of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandSource:
    """`attribute` of `module` is the command's Typer app; `extra` names the optional
    dependencies that it needs.
    """

    help: str
    module: str
    extra: str = "service"
    attribute: str = "app"


SECTIONS: dict[str, dict[str, CommandSource]] = {
    "service": {
        "serve": CommandSource("run the scoring service", "markbook.scoring.cli.serve"),
        "migrate": CommandSource(
            "update the database schema to this version", "markbook.scoring.cli.migrate"
        ),
        "keys": CommandSource("create, list and revoke API keys", "markbook.scoring.cli.keys"),
        "rubric": CommandSource("check, show and try rubrics", "markbook.scoring.cli.rubric"),
        "export": CommandSource(
            "write stored marks as JSON lines, CSV or Parquet",
            "markbook.scoring.cli.export_import",
            attribute="export",
        ),
        "import": CommandSource(
            "add exported marks to the store",
            "markbook.scoring.cli.export_import",
            attribute="import_",
        ),
    },
    "clients of a running service": {
        "score": CommandSource("score a file", "markbook.scoring.cli.score"),
        "stats": CommandSource(
            "show samples, sources of marks, tokens and cost", "markbook.scoring.cli.stats"
        ),
    },
    "teachers": {
        "judge": CommandSource(
            "measure teachers on samples whose truth is known", "markbook.scoring.cli.judge"
        ),
        "rescore": CommandSource(
            "mark stored samples under another model or rubric", "markbook.scoring.cli.rescore"
        ),
    },
    "training": {
        "estimate": CommandSource(
            "estimate what the marks of a run will cost", "markbook.scoring.cli.estimate"
        ),
        "tasks": CommandSource(
            "check the tests and solutions of a task file", "markbook.scoring.cli.tasks"
        ),
        "train": CommandSource("train a student on marks", "markbook.trainer.cli.train", "trainer"),
        "merge": CommandSource(
            "merge a run's adapter into its model", "markbook.trainer.cli.merge", "trainer"
        ),
        "demo": CommandSource(
            "train a small student against a local service", "markbook.demo.cli", "service,trainer"
        ),
    },
}
COMMANDS = {name: source for section in SECTIONS.values() for name, source in section.items()}
