"""`python -m markbook.demo`: the same as `markbook demo`."""

from __future__ import annotations

import sys

from markbook.cli import main

if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(given if given == ["--version"] else ["demo", *given]))
