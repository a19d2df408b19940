"""What students try so that a test passes that should not: name, code, and what is said of it
where that is fixed.
"""

from __future__ import annotations

TEST = "assert f(2) == 4"

ALWAYS = """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __bool__(self): return True
    def __contains__(self, other): return True
    def __hash__(self): return hash(4)
    def __iter__(self): return iter([4])
    def __str__(self): return "4"
    def __repr__(self): return "4"
def f(x): return Always()
"""

LIES = {
    "an __eq__ that is always true": ALWAYS,
    "such an object in a list": ALWAYS + "\ndef f(x): return [Always()]",
    "the function is such a class": ALWAYS.replace("Always", "f").replace(
        "def f(x): return f()", ""
    ),
    "a subclass of int that lies": "class Lie(int):\n    def __eq__(self, other): return True\ndef "
    "f(x): return Lie(0)",
    "a subclass of str that lies": "class Lie(str):\n    def __eq__(self, other): return True\ndef "
    "f(x): return Lie()",
    "a class whose class is a lie": (
        "class Lie:\n    __class__ = int\n    def __eq__(self, o): return True\ndef f(x): return "
        "Lie()"
    ),
    "a metaclass that lies": (
        "class Meta(type):\n    def mro(cls): return [cls, int, object] if False else "
        "type.mro(cls)\n"
        "    def __instancecheck__(cls, o): return True\n    def __eq__(cls, o): return True\n"
        "class Lie(metaclass=Meta): pass\ndef f(x): return Lie"
    ),
    "sys.exit": "import sys\ndef f(x): sys.exit(0)",
    "sys.exit while it loads": "import sys\nsys.exit(0)",
    "os._exit": "import os\ndef f(x): os._exit(0)",
    "os._exit while it loads": "import os\nos._exit(0)",
    "exit": "def f(x): exit(0)",
    "SystemExit": "def f(x): raise SystemExit(0)",
    "SystemExit while it loads": "raise SystemExit",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "StopIteration": "def f(x): raise StopIteration",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "catching AssertionError": (
        "def f(x):\n    try:\n        assert False\n    except AssertionError:\n        return None"
    ),
    "another AssertionError": "AssertionError = ValueError\ndef f(x): return 5",
    "other builtins": (
        "def repr(x): return '4'\ndef isinstance(*a): return True\ndef type(x): return int\ndef "
        "f(x): return 5"
    ),
    "builtins.all is patched": (
        "import builtins\nbuiltins.all = lambda x: True\nbuiltins.isinstance = lambda *a: "
        "True\ndef f(x): return 5"
    ),
    "operator.eq is patched": (
        "import operator\noperator.eq = lambda a, b: True\ndef f(x): return 5"
    ),
    "json is patched": 'import json\njson.dumps = lambda *a, **k: \'["passed", ""]\'\ndef f(x): '
    "return 5",
    "the test is read from a frame": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in list(frame.f_locals.values()):\n"
        "            if isinstance(value, str) and 'f(2) ==' in value:\n"
        "                return eval(value.split('==')[1])\n        frame = frame.f_back\n    "
        "return 0"
    ),
    "the test is found among all objects": (
        "import gc\ndef f(x):\n    for each in gc.get_objects():\n"
        "        if type(each) is dict and any('f(2) ==' in str(v) for v in list(each.values()) if "
        "type(v) is str):\n"
        "            return 4\n    return 0"
    ),
    "the test is read from a file": (
        "import glob\ndef f(x):\n    for name in glob.glob('/**', recursive=True)[:5000]:\n        "
        "try:\n"
        "            text = open(name).read()\n        except Exception:\n            continue\n"
        "        if 'f(2) ==' in text: return 4\n    return 0"
    ),
    "the memory of other processes": (
        "import os\ndef f(x):\n    for pid in os.listdir('/proc'):\n        try:\n"
        "            if b'f(2) ==' in open('/proc/' + pid + '/cmdline', 'rb').read(): return 4\n"
        "        except OSError:\n            continue\n    return 0"
    ),
    "printing a verdict": (
        'print(\'["passed", ""]\')\nprint(\'passed\')\ndef f(x):\n    print(\'["passed", ""]\')\n  '
        "  return 0"
    ),
    "writing a verdict to every descriptor": (
        "import os\ndef f(x):\n    for fd in range(64):\n        try:\n"
        '            os.write(fd, b\'["passed", ""]\\n{"value": ["i", "0"]}\\n\')\n'
        "        except OSError:\n            pass\n    os._exit(0)"
    ),
    "a function that raises": "def f(x): raise ValueError('no')",
    "a hostile __str__": (
        "class Bad(Exception):\n    def __str__(self): raise SystemExit(0)\n"
        "    __repr__ = __str__\ndef f(x): raise Bad(Bad())"
    ),
    "a hostile __repr__": "class Bad:\n    def __repr__(self): raise KeyboardInterrupt\ndef f(x): "
    "return Bad()",
    "an endless __repr__": "class Bad:\n    def __repr__(self):\n        while True: pass\ndef "
    "f(x): return Bad()",
    "a huge exception": "def f(x): raise ValueError('x' * 10**7)",
    "a generator": "def f(x): return (each for each in [4])",
    "another generator": "def f(x):\n    yield 4",
    "a map": "def f(x): return map(int, '4')",
    "a function": "def f(x): return f",
    "a value within itself": "def f(x):\n    loop = []\n    loop.append(loop)\n    return loop",
    "a deep value": "def f(x):\n    deep = []\n    for _ in range(100000): deep = [deep]\n    "
    "return deep",
    "a huge integer": "def f(x): return 10**6000",
    "half a character": "def f(x): return '\\ud800'",
    "not a number": "def f(x): return float('nan')",
    "code that is none": "def f(x:\n    return 4",
    "a null character": "def f(x): return 4\0",
    "code that closes the test's quotes": "def f(x): return 0\n'''\"\"\"",
    "deep nesting": "def f(x): return " + "(" * 500 + "4" + ")" * 500 + " + 1",
    "deep unary operators": "def f(x): return " + "-" * 20000 + "4",
    "nothing": "",
    "return None": "def f(x): return None",
}

BOMBS = {
    "an infinite loop": "def f(x):\n    while True: pass",
    "an infinite loop that catches all": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except "
        "BaseException: pass"
    ),
    "an infinite loop while it loads": "while True: pass",
    "recursion": "def f(x): return f(x)",
    "recursion that catches": (
        "def f(x):\n    try:\n        return f(x)\n    except RecursionError:\n        return f(x)"
    ),
    "a list of a billion": "def f(x): return [0] * 10**9",
    "a list that grows": "def f(x):\n    grown = []\n    while True: grown.append('x' * 1000)",
    "a string of a gigabyte": "def f(x): return 'a' * 2**30",
    "a power": "def f(x): return 9 ** 9 ** 9",
    "a factorial": "import math\ndef f(x): return math.factorial(10**7)",
    "a regex that backtracks": "import re\ndef f(x): return re.match(r'(a|a)*$', 'a' * 40 + 'b') "
    "and 4",
    "output without end": "def f(x):\n    while True: print('x' * 1000)",
    "a destructor without end": (
        "class Late:\n    def __del__(self):\n        while True: pass\ndef f(x):\n    late = "
        "Late()\n    return 5"
    ),
    "sleep": "import time\ndef f(x):\n    time.sleep(100)\n    return 5",
    "a fork bomb": "import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except "
    "OSError: pass",
    "threads": "import threading\ndef f(x):\n    for _ in range(10000): "
    "threading.Thread(target=lambda: f(x)).start()",
    "killing the parent": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 5",
    "killing everything": "import os\ndef f(x):\n    os.kill(-1, 9)\n    return 5",
}
