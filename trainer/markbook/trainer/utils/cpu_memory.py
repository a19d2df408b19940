"""How the C library's allocator treats large blocks on a CPU.

To be set before the first large tensor.
"""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""mallopt's parameters, from glibc's malloc.h."""
_LARGEST_INT = 2**31 - 1
_LARGEST_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of up to 1 GiB and use them for later allocations; returns
    whether it does.

    By default it maps every block of more than 32 MiB (128 KiB at first) and unmaps it when it is
    freed. Each tensor of such a size then costs a page fault per 4 KiB, which was a tenth to a
    quarter of a step on 2 cores. The process keeps the memory it needed at most until it ends.
    Changes nothing with another C library, nor where the user has configured glibc's allocator.
    """
    configured = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if configured or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    )
