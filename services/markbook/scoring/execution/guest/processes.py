"""Forbids a process to start others: a limit on their number does not hold for a service that runs as root."""

from __future__ import annotations

import ctypes
import os
import struct

NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2  # of prctl
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of the kernel's filter language
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # refuse with EPERM
CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (56, 57, 58, 435)),
    "aarch64": (0xC00000B7, (220, 435)),
}
"""By machine: its number in the kernel, and those of clone, fork, vfork and clone3."""
OTHER_CALLS = 0x40000000
"""Calls from here on are x86_64's under other numbers."""


def forbid_processes() -> None:
    """From now on this process starts no other and no thread. Raises OSError where the kernel cannot see to it."""
    machine, calls = CALLS[os.uname().machine]
    refused = [(EQUAL, call) for call in calls] + [(AT_LEAST, OTHER_CALLS)]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, machine), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    program += [(code, len(refused) - place, 0, call) for place, (code, call) in enumerate(refused)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    kernel = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    for arguments in (
        (NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero),
        (SET_SECCOMP, ctypes.c_ulong(FILTER), ctypes.byref(header), zero, zero),
    ):
        if kernel.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")
