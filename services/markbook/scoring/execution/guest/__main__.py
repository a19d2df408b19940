"""`python -I … tests FD` or `… code FD`: one of the two processes of the CPython sandbox."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1] == "tests":
        from markbook.scoring.execution.guest.tests_process import main
    else:
        from markbook.scoring.execution.guest.code_process import main
    main()
