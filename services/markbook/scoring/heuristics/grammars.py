"""The tree-sitter grammars, and parsing that gives up in time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_python
import tree_sitter_rust
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

LANGUAGES = {
    "python": Language(tree_sitter_python.language()),
    "cpp": Language(tree_sitter_cpp.language()),
    "rust": Language(tree_sitter_rust.language()),
    "go": Language(tree_sitter_go.language()),
    "java": Language(tree_sitter_java.language()),
    "javascript": Language(tree_sitter_javascript.language()),
    "typescript": Language(tree_sitter_typescript.language_typescript()),
    "tsx": Language(tree_sitter_typescript.language_tsx()),
}


def kinds(names: str) -> frozenset[str]:
    """A set of node types, from one string of them."""
    return frozenset(names.split())


COMMENTS = kinds("comment line_comment block_comment html_comment hash_bang_line")

_CHUNK = 4096  # bytes handed to the parser at a time


class UndecidedError(Exception):
    """The sample could not be classified within its limits: nothing is proven, so it passes on
    to the teacher.
    """


def is_supported(language: str) -> bool:
    """Whether there is a grammar for this canonical name."""
    return language in LANGUAGES


def parse(code: str, language: str, deadline: float) -> Node:
    """The root of the syntax tree of `code`, with error recovery.

    Raises UndecidedError once `time.thread_time()` passes `deadline` (seconds).
    """
    root = _parse(code, language, deadline, recover=True)
    assert root is not None
    return root


def parse_strict(code: str, language: str, deadline: float) -> Node | None:
    """As `parse`, but None once an error is certain: recovery on foreign text takes ten times as
    long.
    """
    return _parse(code, language, deadline, recover=False)


def is_valid(code: str, language: str, deadline: float) -> bool:
    """Whether the grammar parses `code` without an error. Raises UndecidedError as `parse` does."""
    root = parse_strict(code, language, deadline)
    return root is not None and not root.has_error


def _parse(code: str, language: str, deadline: float, *, recover: bool) -> Node | None:
    failed = False
    source = (
        code.encode(errors="replace") + b"\n"
    )  # a lone surrogate becomes a question mark; Go ends statements at line ends

    def read(offset: int, _point: object) -> bytes:
        return source[offset : offset + _CHUNK]

    def stop(_offset: int, has_error: bool) -> bool:
        nonlocal failed
        failed = has_error and not recover  # reported when every remaining parse has an error
        return failed or time.thread_time() > deadline

    try:
        # a new parser: one that was stopped keeps its state, and a parser is not for two threads
        return Parser(LANGUAGES[language]).parse(read, progress_callback=stop).root_node
    except ValueError as error:
        if failed:
            return None
        raise UndecidedError("parsing took too long") from error


def error_nodes(node: Node) -> Iterator[Node]:
    """The ERROR and MISSING nodes below `node`, in the order of the text."""
    stack = [node]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            yield node
        elif node.has_error:
            stack.extend(reversed(node.children))
