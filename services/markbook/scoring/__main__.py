"""`python -m markbook.scoring`: the same as `markbook`, and without a command as `markbook
serve`.
"""

from __future__ import annotations

import sys

from markbook.cli import main

if __name__ == "__main__":
    sys.exit(main(default="serve"))
