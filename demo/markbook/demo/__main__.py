"""`python -m markbook.demo`: the same as `markbook demo`."""

from __future__ import annotations

import sys

from markbook.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
