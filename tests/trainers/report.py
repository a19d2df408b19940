"""What the programs have in common: their options, and how they print what they found."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


def options() -> dict[str, Any]:
    return json.loads(sys.argv[1])


def show(**found: Any) -> None:
    print(json.dumps(found), flush=True)


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
