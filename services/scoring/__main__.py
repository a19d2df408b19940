"""`python -m services.scoring`: the scoring service, and the commands around its book."""

from __future__ import annotations

import argparse
import sys

from services.scoring.commands import exchange, keys, serve
from services.scoring.errors import MarkbookError
from shared.config import ConfigError


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given = ["serve", *given]
    arguments = _parser().parse_args(given)
    try:
        status: int = arguments.run(arguments)
        return status
    except (ConfigError, MarkbookError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.scoring",
        description="The scoring service, and the commands around its book. Without a command: serve.",
        epilog="MARKBOOK_SECTION__KEY=value overrides a key of the configuration, MARKBOOK_CONFIG names its file.",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (serve, keys, exchange):
        command.register(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
