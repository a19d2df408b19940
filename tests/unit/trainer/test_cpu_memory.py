"""Freed blocks are handed out again instead of being mapped anew: counted in page faults, in a
process of its own.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np
from markbook.trainer.utils.cpu_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23)  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults()
print(int(kept), faults(), faults())
"""


def counted(**environment: str) -> list[int]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library has another allocator"
)
def test_a_block_that_was_freed_is_not_mapped_anew():
    kept, second, third = counted()
    assert kept
    assert max(second, third) <= 2


def test_an_allocator_that_the_user_has_configured_stays():
    kept, second, third = counted(MALLOC_ARENA_MAX="2")
    assert not kept
    assert min(second, third) > 2, "without the setting every such block is mapped anew"
