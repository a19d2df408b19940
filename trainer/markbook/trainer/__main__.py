"""`python -m markbook.trainer`: the same as `markbook train`, for launchers that start a module."""

from __future__ import annotations

import sys

from markbook.cli import main

if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(given if given == ["--version"] else ["train", *given]))
