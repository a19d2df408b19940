"""What is in attacks/ passes no test, in either sandbox; what is right passes all of them."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from markbook.scoring.execution import Limits
from markbook.scoring.execution.cpython import CPythonSandbox, bubblewrap_fault
from markbook.scoring.execution.monty import MontySandbox
from tests.processes import ROOT
from tests.unit.scoring.execution_attacks import (
    BOMBS,
    FORMS,
    HONEST_CODE,
    HONEST_TESTS,
    LIES,
    RIGHT,
    TRAPS,
)

LIMITS = Limits(test_s=0.5, total_s=2.0, memory_bytes=96 * 2**20)
GENEROUS = Limits(test_s=20.0, total_s=60.0)
SANDBOXES = ["monty", "cpython"]


@pytest.fixture(scope="module", params=SANDBOXES)
def sandbox(request):
    if request.param == "cpython" and (fault := bubblewrap_fault()):
        pytest.skip(fault)
    made = MontySandbox(1) if request.param == "monty" else CPythonSandbox()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cpython():
    if fault := bubblewrap_fault():
        pytest.skip(fault)
    return CPythonSandbox()


def passed(sandbox, code, tests, setup="", limits=LIMITS):
    results = sandbox.run(code, tests, setup, limits)
    return [test for test, result in zip(tests, results, strict=True) if result.passed]


def not_passed(sandbox, code, tests, setup=""):
    results = sandbox.run(code, tests, setup, GENEROUS)
    shown = [
        (test, result) for test, result in zip(tests, results, strict=True) if not result.passed
    ]
    # what this sandbox lacks the other one has
    return [each for each in shown if sandbox.name == "cpython" or each[1].verdict != "cannot_run"]


def test_what_is_right_passes_each_form(sandbox):
    assert not_passed(sandbox, RIGHT, FORMS) == []
    assert not_passed(sandbox, HONEST_CODE, HONEST_TESTS) == []


@pytest.mark.parametrize("name", LIES)
def test_no_lie_passes_any_form(sandbox, name):
    # a process a test is slow: there each lie meets a part of the forms, as does the next the next
    # part
    forms = FORMS if sandbox.name == "monty" else FORMS[list(LIES).index(name) % 8 :: 8]
    assert passed(sandbox, LIES[name], forms) == []


@pytest.mark.parametrize("name", TRAPS)
def test_no_trap_passes_and_what_is_right_does(sandbox, name):
    trap = TRAPS[name]
    assert passed(sandbox, trap.code, trap.tests, trap.setup) == []
    assert not_passed(sandbox, trap.right, trap.tests, trap.setup) == []


@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_passes_grows_this_process_or_hurts_the_next_sample(sandbox, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tests = ["assert f(2) == 4", "assert 4 in [f(2)]"]
    assert (
        passed(sandbox, BOMBS[name], tests, limits=Limits(0.3, 0.6, memory_bytes=96 * 2**20)) == []
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert not_passed(sandbox, RIGHT, ["assert f(2) == 4"]) == []


def test_the_setups_imports_and_plain_classes_are_the_codes_too(sandbox):
    setup = (
        "import math\nclass Node:\n    def __init__(self, value):\n        self.value = "
        "value\nlimit = 3"
    )
    code = "def f(x): return math.floor(Node(x).value)\ndef g(): return limit"
    assert passed(sandbox, code, ["assert f(2.5) == 2", "assert g() == 3"], setup, GENEROUS) == [
        "assert f(2.5) == 2"
    ]


REFUSED = """
import ctypes, os, signal
kernel = ctypes.CDLL(None)
def f(x):
    got = []
    for folder in ('/', '/dev/shm', '/guest'):
        try:
            open(folder + '/file', 'w')
            got.append(folder)
        except OSError:
            pass
    for name, number in (('ptrace', os.getppid()), ('shmget', 0), ('unshare', 0x10000000)):
        arguments = (16, number, 0, 0) if name == 'ptrace' else (number, 4096, 0o1600)
        if getattr(kernel, name)(*arguments) != -1:
            got.append(name)
    for pid in (os.getppid(), os.getpid(), -1):
        try:
            os.kill(pid, signal.SIGCONT)
            got.append('kill')
        except OSError:
            pass
    files = []
    try:
        while len(files) < 1000: files.append(os.memfd_create('file'))
        got.append('files')
    except OSError:
        pass
    return got
"""


def test_no_memory_without_a_limit_and_no_hand_on_other_processes(cpython):
    assert not_passed(cpython, REFUSED, ["assert f(1) == []"]) == []


def test_what_code_breaks_off_has_failed_and_is_no_matter_of_time(cpython):
    shut = LIES["the connection is shut"]
    results = cpython.run(shut, ["assert f(1) == 2", "assert f(2) == 4"], "", GENEROUS)
    assert [result.verdict for result in results] == ["failed", "failed"]
    own = "def f(x): raise TimeoutError('timed out after 2 s')"
    assert [result.verdict for result in cpython.run(own, ["assert f(1) == 2"], "", GENEROUS)] == [
        "failed"
    ]


CHILDREN = r"""
import ctypes, os
from markbook.scoring.execution import Limits
from markbook.scoring.execution import cpython, monty
# nobody else takes orphans off the list of processes
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
sandbox = SANDBOX
endless = "part = ()\nfor _ in range(40): part = (part, part)\ndef f(): return {part: 1}"
late = sandbox.run(endless, ["assert f() == 1"], "", Limits(0.3, 0.3))
done = sandbox.run("def f(): return 1", ["assert f() == 1"], "", Limits(20, 60))
sandbox.close()
try:
    print(late[0].verdict.value, done[0].verdict.value, "child", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print(late[0].verdict.value, done[0].verdict.value, "none")
"""


@pytest.mark.parametrize("made", ["cpython.CPythonSandbox()", "monty.MontySandbox(1)"])
def test_no_process_is_left_behind_even_where_nobody_collects_orphans(made):
    if made.startswith("cpython") and (fault := bubblewrap_fault()):
        pytest.skip(fault)
    script = CHILDREN.replace("SANDBOX", made)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["timed_out", "passed", "none"]


def test_a_test_that_the_sandbox_cannot_hand_over_is_no_failure(cpython):
    test = "class Other:\n    pass\nassert f(Other()) == 4"
    [result] = cpython.run("def f(x): return 4", [test], "", GENEROUS)
    assert result.verdict == "cannot_run"


def test_what_monty_cannot_be_sure_of_is_left_to_cpython():
    monty = MontySandbox(1)
    cases = {
        (
            "def type(x): return int\ndef f(x): return 4",
            "assert type(f(2)) == int",
        ): "a type of its own",
        (
            "ValueError = Exception\ndef f(x): return 4",
            "assert f(2) == 4 or ValueError",
        ): "a ValueError of its own",
        ("def f(x): return eval('4')", "assert f(2) == 4"): "eval and exec",
        ("m = map\ndef f(x): return 4", "assert f(2) == 4"): "lazy",
        (
            "def list(x): return x\ndef f(x): return 4, list(x for x in [1])",
            "assert f(2)[0] == 4",
        ): "lazy",
        ("def f(x): return iter([4])", "assert 4 in f(2)"): "in an operator",
    }
    for (code, test), why in cases.items():
        [result] = monty.run(code, [test], "", GENEROUS)
        assert (result.verdict, why in result.message) == ("cannot_run", True), result
    monty.close()
