"""The commands of `python -m services.scoring`. Each module has `register`, which adds its parser.

A command's parser sets `run`, a function of the parsed arguments that returns the exit status; it may raise ConfigError
or a MarkbookError, whose text is then printed as one line.
"""

from __future__ import annotations

import argparse
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: config.yaml here, if there is one)")
