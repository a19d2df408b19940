"""The root of the command line: finds a command by name, imports it, runs it, and turns errors
into exit statuses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from markbook.cli.commands import COMMANDS, SECTIONS, CommandSource
from markbook.cli.options import FAILED
from markbook.errors import MarkbookError
from markbook.terminal import printable

_NOTES = """\b
MARKBOOK_SECTION__KEY=value overrides a key of the configuration and
MARKBOOK_CONFIG names its file; MARKBOOK_URL is the address of a running
service, MARKBOOK_API_KEY the key for one that asks for keys.

\b
Exit status: 0 success, 2 an error that the message explains, 130 Ctrl-C;
further ones are in the help of each command."""


class MissingExtraError(MarkbookError):
    """A command's optional dependencies are not installed."""


class LazyGroup(TyperGroup):
    """Lists commands from a table and imports only the one that is called: torch and SQLAlchemy
    load slowly.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, source in COMMANDS.items():
            self.add_command(TyperCommand(name, help=source.help), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load(name), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title.capitalize()):
                formatter.write_dl([(name, source.help) for name, source in commands.items()])


app = typer.Typer(
    name="markbook",
    cls=LazyGroup,
    help="Markbook: a scoring service for code samples (LLM as a judge, with tests and a cache) "
    "and a trainer that learns from its marks.",
    epilog=_NOTES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"markbook {version('markbook')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Nothing of its own: the options are those of the commands."""


def main(argv: Sequence[str] | None = None, *, default: str | None = None) -> int:
    """Run the command line. Returns the exit status.

    `default`: the command where `argv` names none, for `python -m` of a package that is mostly used
    for one.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if default and (
        not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version"))
    ):
        given = [default, *given]
    return _run(given)


def _run(argv: list[str]) -> int:
    try:
        status = _call(argv)
        if sys.stdout is not None:  # None: started with a closed standard output
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        _discard_output()
        return 1
    except OSError as error:
        if (
            not _output_is_lost()
        ):  # else a defect of the command, whose own files are its own matter
            raise
        _discard_output()
        print(f"cannot write to standard output: {error.strerror}", file=sys.stderr)
        return FAILED
    return status


def _call(argv: list[str]) -> int:
    try:
        get_command(app)(args=argv, prog_name="markbook")
    except MarkbookError as error:
        print(printable(str(error)), file=sys.stderr)
        return FAILED
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        raise
    return 0


def _output_is_lost() -> bool:
    """Whether nothing more can be printed, such as to a full disk.

    Without a buffer only another write shows it.
    """
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _discard_output() -> None:
    """The interpreter flushes once more at its end, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load(name: str) -> TyperCommand | TyperGroup:
    """The command `name`, imported.

    Raises MissingExtraError where its optional dependencies are not installed.
    """
    source = COMMANDS[name]
    try:
        module = import_module(source.module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(_how_to_install(name, source, error)) from error
    app = getattr(module, source.attribute)
    command = get_command(app)
    assert isinstance(command, TyperCommand | TyperGroup)
    command.name, command.help, command.epilog = name, app.info.help, app.info.epilog
    return command


def _how_to_install(name: str, source: CommandSource, error: ModuleNotFoundError) -> str:
    if error.name is None or error.name.partition(".")[0] == "markbook":
        raise error  # a defect of this project, which installing something would not mend
    return (
        f"markbook {name} needs {error.name}, which is not installed: pip install "
        f"'markbook[{source.extra}]'"
    )
