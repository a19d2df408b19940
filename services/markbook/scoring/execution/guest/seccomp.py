"""Forbids a process what limits do not bound: other processes, their memory and signals, memory of
the kernel's own.

A limit on the number of processes would not hold for a service that runs as root.
"""

from __future__ import annotations

import ctypes
import os
import struct

SET_DUMPABLE, NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 4, 38, 22, 2  # of prctl
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of the kernel's filter language
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # refuse with EPERM
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Their numbers in the kernel."""
CALLS: dict[str, tuple[int | None, int | None]] = {
    # processes and threads
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "clone3": (435, 435),
    # signals to the process that watches over this one
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    # its memory and descriptors: it may start processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    # memory that no limit of a process counts
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    # other namespaces, and parts of the kernel that tested code has no use for
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "fsopen": (430, 430),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
"""What is refused: its numbers on x86_64 and on aarch64."""
OTHER_CALLS = 0x40000000
"""Calls from here on are x86_64's under other numbers."""


def hide_from_children() -> None:
    """Keep this process's memory from others of its user: the tested code is one of them."""
    _prctl(SET_DUMPABLE, ctypes.c_ulong(0))


def forbid_harm() -> None:
    """From now on the kernel refuses this process what CALLS names.

    Raises OSError where it cannot see to that.
    """
    machine = os.uname().machine
    numbers = [pair[list(MACHINES).index(machine)] for pair in CALLS.values()]
    refused = [(EQUAL, number) for number in numbers if number is not None] + [
        (AT_LEAST, OTHER_CALLS)
    ]
    program = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, MACHINES[machine]),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, 0),
    ]
    program += [(code, len(refused) - place, 0, call) for place, (code, call) in enumerate(refused)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    )
    _prctl(NO_NEW_PRIVILEGES, ctypes.c_ulong(1))
    _prctl(SET_SECCOMP, ctypes.c_ulong(FILTER), ctypes.byref(header))


def _prctl(option: int, *arguments: object) -> None:
    kernel = ctypes.CDLL(None, use_errno=True)
    given = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    if kernel.prctl(option, *given):
        raise OSError(ctypes.get_errno(), "prctl")
