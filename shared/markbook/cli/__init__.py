"""The command `markbook`.

Each package brings its own commands; none is imported before it is called.
"""

from markbook.cli.root import main

__all__ = ["main"]
