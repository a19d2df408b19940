"""`python -m markbook.scoring`: the scoring service, and the commands around its book."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version

from markbook.client import ClientError
from markbook.config.loading import ConfigError
from markbook.scoring.cli import INTERRUPTED, PROGRAM
from markbook.scoring.errors import MarkbookError
from markbook.terminal import printable

PURPOSES = {
    "run the service": {
        "serve": "mark code samples over HTTP (this is done without a command, too)",
        "migrate": "bring the database to this version's schema",
    },
    "ask it": {
        "score": "mark a file from the shell",
        "stats": "what was asked, where the marks came from, what they cost",
        "estimate": "what a training run would cost, before it is started",
    },
    "prepare a training run": {
        "tasks": "check a task file: do its solutions pass its tests, does nothing else",
    },
    "look after its book": {
        "keys": "make, show and revoke API keys",
        "export": "write all marks as lines of JSON",
        "import": "add exported marks to the book",
    },
}
_MODULES = {"export": "export_import", "import": "export_import"}


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["serve", *given]
    try:
        arguments = _parser(given[0]).parse_args(given)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (ConfigError, MarkbookError, ClientError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser(name: str) -> argparse.ArgumentParser:
    """One that knows the command `name`: to load what all commands need would make each of them slow."""
    sections: list[str] = []
    for purpose, commands in PURPOSES.items():
        lines = [f"  {command:10}{what}" for command, what in commands.items()]
        sections.append("\n".join([f"{purpose}:", *lines]))
    shown = "\n\n".join(sections)
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [COMMAND] [OPTIONS]",
        description=f"The scoring service, and the commands around its book.\n\n{shown}",
        epilog="COMMAND --help tells more, with examples. MARKBOOK_SECTION__KEY=value overrides a key of the\n"
        "configuration, MARKBOOK_CONFIG names its file, MARKBOOK_PORT is the service's port, MARKBOOK_URL is\n"
        "the address of a running one, MARKBOOK_API_KEY the key for a service that asks for one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"markbook {version('markbook')}")
    subparsers = parser.add_subparsers(prog=PROGRAM, metavar="COMMAND", help=argparse.SUPPRESS)
    names = [command for commands in PURPOSES.values() for command in commands]
    if name in names:
        import_module(f"markbook.scoring.cli.{_MODULES.get(name, name)}").register(subparsers)
    elif name not in ("-h", "--help", "--version"):
        parser.error(f"there is no command {name}: the commands are {', '.join(names)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
