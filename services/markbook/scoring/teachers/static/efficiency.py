"""Efficiency of Python: work repeated inside loops, and values built and discarded."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from markbook.scoring.teachers.static.findings import Finding, product
from markbook.scoring.teachers.static.submission import Submission

_LOOPS = (
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_WHOLE_PASSES = frozenset(
    {"sum", "max", "min", "sorted", "list", "set", "any", "all", "count", "index", "reversed"}
)
_CHEAP = frozenset(
    {"len", "range", "isinstance", "int", "str", "float", "abs", "get", "pop", "next"}
)
_CONSUMERS = frozenset(
    {"sum", "any", "all", "max", "min", "set", "sorted", "tuple", "dict", "join"}
)
_CHANGING = frozenset({"append", "add", "pop", "remove", "extend", "insert", "update"})


def efficiency(submission: Submission, reasons: list[str]) -> float:
    """In [0, 1]."""
    parts = (_loops, _recursion, _repeated_calls, _waste)
    return product((finding for part in parts for finding in part(submission)), reasons)


def _loops(submission: Submission) -> Iterator[Finding]:
    kinds = dict(_kinds(submission))
    for loop in submission.nodes:
        if isinstance(loop, _LOOPS):
            changing = _changing(loop)
            ours = _iterated(getattr(loop, "generators", [loop])[0])
            for node in (node for part in _repeated_parts(loop) for node in ast.walk(part)):
                yield from _repeated_work(node, changing, kinds)
                if ours and ours == _iterated(node):
                    yield 0.6, "loops over the same thing inside a loop over it"


def _repeated_work(node: ast.AST, changing: set[str], kinds: dict[str, str]) -> Iterator[Finding]:
    """Operations that cost a pass over all items in each iteration."""
    match node:
        case (
            ast.Call(func=ast.Name(id=function), args=[ast.Name(id=whole), *_])
            | ast.Call(func=ast.Attribute(value=ast.Name(id=whole), attr=function))
        ) if function in _WHOLE_PASSES and whole not in changing:
            yield 0.7, f"calls {function} on the same thing in every round of a loop"
        case ast.Call(func=ast.Attribute(attr="insert" | "pop"), args=[ast.Constant(value=0), *_]):
            yield 0.8, "moves a whole list in every round of a loop"
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]) if (
            kinds.get(name) == "list"
        ):
            yield 0.75, "searches a list in every round of a loop"
        case ast.AugAssign(op=ast.Add(), target=ast.Name(id=name)) if kinds.get(name) == "text":
            yield 0.8, "builds a string piece by piece in a loop"
        case ast.Assign(
            targets=[ast.Name(id=target)],
            value=ast.BinOp(left=ast.Name(id=source), op=ast.Add(), right=right),
        ) if target == source and (isinstance(right, ast.List) or kinds.get(target) == "text"):
            yield 0.8, "copies a whole list or string in every round of a loop"


def _recursion(submission: Submission) -> Iterator[Finding]:
    cached = any("cache" in ast.dump(decorator) for decorator in submission.function.decorator_list)
    steps = [
        call for call in submission.recursion() if call.args and isinstance(call.args[0], ast.BinOp)
    ]
    if len(steps) > 1 and not cached:
        yield 0.5, "calls itself twice for overlapping parts"


def _repeated_calls(submission: Submission) -> Iterator[Finding]:
    statements = {node.value for node in submission.nodes if isinstance(node, ast.Expr)}
    calls = [
        node for node in submission.nodes if isinstance(node, ast.Call) and node not in statements
    ]
    for number in Counter(ast.dump(call) for call in calls if _called(call) not in _CHEAP).values():
        yield from [(0.92, "computes the same call again")] * (number - 1)


def _waste(submission: Submission) -> Iterator[Finding]:
    for node in submission.nodes:
        match node:
            case ast.Call(args=[ast.ListComp(), *_]) if (name := _called(node)) in _CONSUMERS:
                yield 0.95, f"builds a list only for {name}"
            case ast.Call(
                func=ast.Name(id="list" | "sorted" | "tuple" | "set"),
                args=[ast.Call(func=ast.Name(id="list" | "sorted")), *_],
            ):
                yield 0.9, "copies a list that is thrown away"
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="sorted")), slice=ast.Constant() | ast.UnaryOp()
            ):
                yield 0.8, "sorts everything to take one"
            case ast.ListComp(
                elt=ast.Name(id=item),
                generators=[ast.comprehension(target=ast.Name(id=target), ifs=[])],
            ) if item == target:
                yield 0.9, "copies item by item"


def _called(call: ast.Call) -> str | None:
    """The name of the function or method."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _kinds(submission: Submission) -> Iterator[tuple[str, str]]:
    """Names that are set to a list or to a string."""
    for node in submission.nodes:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Constant(value=str()) | ast.JoinedStr()
            ):
                yield name, "text"
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List() | ast.ListComp()):
                yield name, "list"
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="list"))):
                yield name, "list"


def _iterated(loop: ast.AST) -> str | None:
    """What a loop iterates over, in comparable form."""
    match loop:
        case (
            ast.For(iter=iterated) | ast.AsyncFor(iter=iterated) | ast.comprehension(iter=iterated)
        ):
            return ast.dump(iterated)
    return None


def _repeated_parts(loop: ast.AST) -> list[ast.AST]:
    """The parts of a loop that run once per iteration: not its iterable, nor its `else`."""
    match loop:
        case ast.While(test=test, body=body):
            return [test, *body]
        case ast.For(body=body) | ast.AsyncFor(body=body):
            return [*body]
        case ast.DictComp(key=key, value=value, generators=[first, *others]):
            return [key, value, *first.ifs, *others]
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            return [loop.elt, *loop.generators[0].ifs, *loop.generators[1:]]
    return []


def _changing(loop: ast.AST) -> set[str]:
    """Names that are set, or whose object is changed, while the loop runs."""
    names = set()
    for node in ast.walk(loop):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                method in _CHANGING
            ):
                names.add(name)
    return names
