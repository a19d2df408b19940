"""The four criteria for Python, from the syntax tree.

Nothing is executed, so marks reflect syntax only.
"""

from __future__ import annotations

import ast
import builtins
import platform
import tokenize
from collections.abc import Iterator

from markbook.scoring.teachers.static.comments import prose_mark, words_of
from markbook.scoring.teachers.static.efficiency import efficiency
from markbook.scoring.teachers.static.findings import marked
from markbook.scoring.teachers.static.flow import Function, always_ends
from markbook.scoring.teachers.static.quality import comments, quality
from markbook.scoring.teachers.static.submission import Submission, name_likeness, read_submission
from markbook.scoring.teachers.static.task import TaskRequirements
from markbook.scoring.types import CRITERIA, Judgment

_BUILTINS = frozenset(dir(builtins)) | {"__file__"}
_METHODS = frozenset(
    name for kind in (str, bytes, list, dict, set, tuple, int, float, complex) for name in dir(kind)
)
_WORK: tuple[type[ast.AST], ...] = (
    *(
        ast.Call,
        ast.BinOp,
        ast.Compare,
        ast.BoolOp,
        ast.UnaryOp,
        ast.Subscript,
        ast.JoinedStr,
        ast.AugAssign,
    ),
    *(
        ast.ListComp,
        ast.SetComp,
        ast.DictComp,
        ast.GeneratorExp,
        ast.List,
        ast.Set,
        ast.Dict,
        ast.If,
        ast.IfExp,
    ),
)
_VERSION = ".".join(platform.python_version_tuple()[:2])
_DECISIONS = (ast.If, ast.IfExp, ast.BoolOp, ast.Match, ast.While, ast.Try)


def mark_python(code: str, asked: TaskRequirements) -> Judgment:
    try:
        submission = read_submission(code, asked)
        return _mark(submission) if submission else _nothing("defines no function")
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        return _nothing(f"cannot be read as Python {_VERSION}: {type(error).__name__}")


def _nothing(reason: str) -> Judgment:
    return marked(dict.fromkeys(CRITERIA, 0.0), [reason])


def _mark(submission: Submission) -> Judgment:
    reasons: list[str] = []
    substance = _substance(submission, reasons)
    right = _correctness(submission, reasons)
    others = {
        "code_quality": quality(submission, reasons),
        "efficiency": efficiency(submission, reasons),
        "documentation": _documentation(submission, reasons),
    }
    # the other criteria are worthless for code that does nothing, and at most half for code that
    # does something else
    marks = {
        "correctness": right,
        **{name: mark * (0.5 + 0.5 * right) for name, mark in others.items()},
    }
    return marked({name: mark * substance for name, mark in marks.items()}, reasons)


def _substance(submission: Submission, reasons: list[str]) -> float:
    """In [0.05, 1]: the share of the parameters that reach the result, and whether they are
    used.
    """
    given = submission.parameters
    number = max(len(given), len(submission.asked.parameters))
    unused = [name for name in given if name not in submission.flow.reached]
    if unused:
        reasons.append(f"{', '.join(unused)} does not matter for the result")
    recursion = submission.recursion()
    work = any(isinstance(node, _WORK) and node not in recursion for node in submission.nodes)
    if not work:
        reasons.append("does nothing with its parameters")
    share = (len(given) - len(unused)) / number if number else 1.0
    return 0.05 + 0.95 * share * (1.0 if work else 0.1)


def _correctness(submission: Submission, reasons: list[str]) -> float:
    """Signature, a value on every path, the operations that the task names; x 0.6 for each
    unknown name.
    """
    asked, function, given = submission.asked, submission.function, submission.parameters
    name = name_likeness(function.name, asked.name)
    if name < 1:
        reasons.append(f"defines {function.name} instead of {asked.name}")
    in_place = sum(ours == theirs for ours, theirs in zip(given, asked.parameters, strict=False))
    parameters = in_place / max(len(given), len(asked.parameters)) if asked.parameters else 1.0
    if parameters < 1:
        reasons.append(f"takes ({', '.join(given)}) instead of ({', '.join(asked.parameters)})")
    unknown = sorted(set(_unknown_names(submission)))
    if unknown:
        reasons.append(f"unknown: {', '.join(unknown[:5])}")
    used = set(_operations(submission))
    missing = sum(not used & expected for expected in asked.operations)
    if missing:
        reasons.append(
            f"lacks {missing} of {len(asked.operations)} kinds of operation that the task speaks of"
        )
    operations = 1 - missing / len(asked.operations) if asked.operations else 1.0
    signature = 0.6 * name + 0.4 * parameters
    return (
        0.25 * signature + 0.3 * _answers(submission, reasons) + 0.45 * operations
    ) * 0.6 ** len(unknown)


def _answers(submission: Submission, reasons: list[str]) -> float:
    """Whether every path returns a value, and whether recursion has an end."""
    if submission.recursion() and not any(
        isinstance(node, _DECISIONS) for node in submission.nodes
    ):
        reasons.append("calls itself without end")
        return 0.0
    if not submission.asked.returns:
        return 1.0
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in submission.nodes):
        reasons.append("yields where a value is to be returned")
        return 0.5
    if not any(isinstance(node, ast.Return) and node.value for node in submission.nodes):
        reasons.append("returns nothing")
        return 0.0
    if not always_ends(submission.body):
        reasons.append("returns nothing on some ways through")
        return 0.5
    return 1.0


def _documentation(submission: Submission, reasons: list[str]) -> float:
    """A docstring counts in full, comments two fifths of the rest; both must be about this task
    or this code.
    """
    named = [node.id for node in ast.walk(submission.function) if isinstance(node, ast.Name)]
    about = submission.asked.words.union(*map(words_of, [*named, *submission.parameters]))
    docstring = prose_mark(ast.get_docstring(submission.function) or "", about)
    beside = prose_mark("\n".join(comments(submission.code)), about)
    if docstring < 0.5:
        reasons.append("no docstring that describes what it does")
    return docstring + (1 - docstring) * 0.4 * beside


def _unknown_names(submission: Submission) -> Iterator[str]:
    """Names that nothing in the sample binds, and attributes that no built-in type has."""
    bound, imported = _bound_names(submission.tree)
    # an imported or an own type may have any attribute
    other_types = bool(imported) or any(
        isinstance(node, ast.ClassDef) for node in ast.walk(submission.tree)
    )
    known = bound | imported | _BUILTINS
    for node in submission.nodes:
        if isinstance(node, ast.Name) and node.id not in known and "*" not in imported:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr not in _METHODS and not other_types:
            yield f".{node.attr}"


def _bound_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The names that a module binds anywhere, and those that it imports."""
    bound: set[str] = set()
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(
            node, Function | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
        ):
            bound.add(node.name or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return bound, imported


def _operations(submission: Submission) -> Iterator[str]:
    for node in submission.nodes:
        yield type(node).__name__
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
