"""Code that parses but does not answer the task: comments only, a stub, elided code, a last word
cut short.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from markbook.scoring.heuristics import cpython
from markbook.scoring.heuristics.grammars import COMMENTS, kinds
from markbook.scoring.heuristics.keywords import KEYWORDS

_FUNCTIONS = kinds(
    """function_definition function_item function_declaration method_declaration method_definition arrow_function
    function_expression generator_function_declaration"""
)
_CONSTRUCTORS = kinds("constructor_declaration compact_constructor_declaration")
# what holds functions without being work itself
_WRAPPERS = kinds(
    """class_definition class_specifier class_declaration abstract_class_declaration class_body block declaration_list
    field_declaration_list impl_item namespace_definition export_statement decorated_definition lexical_declaration
    variable_declarator mod_item template_declaration linkage_specification"""
)
_CLASSES = kinds("class_definition class_specifier class_declaration")
_NO_WORK = COMMENTS | kinds(
    """import_statement import_from_statement future_import_statement import_declaration package_declaration
    package_clause use_declaration extern_crate_declaration preproc_include preproc_call using_declaration
    attribute_item inner_attribute_item access_specifier empty_statement pass_statement
    identifier type_identifier name namespace_identifier nested_namespace_specifier modifiers visibility_modifier
    type_parameters template_parameter_list decorator"""
)

_PLACEHOLDER = re.compile(
    r"""\btodo\b | \bfixme\b | \bimplement | \byour\ (?:code|solution|implementation)\b | \bfill\ in\b | \bnot\ yet\b
    | \b(?:code|logic|solution)\ (?:goes\ )?here\b | \bplaceholder\b | \bremove\ this\b | \bwrite\ (?:your|the)\ """,
    re.IGNORECASE | re.VERBOSE,
)
_NOTHING = re.compile(r"pass|\.\.\.|;|\(\)")
_LITERAL_RETURN = re.compile(r"return\b\s*(?:[-\w.]{0,12}|\"\"|''|\[\]|\{\}|\(\))?\s*;?")
_UNDONE = re.compile(
    r"raise\s+NotImplemented(?:Error)?\b[^\n]*"
    r"|throw\s+(?:new\s+)?[\w:.]*(?:NotImplemented|UnsupportedOperation)\w*[^\n]*"
    r"|(?:std::)?(?:todo|unimplemented)!\s*[(\[{](?s:.*)[)\]}]\s*;?"
)
_COMPLAINT = re.compile(r"(?:throw\b|raise\b|panic!?\s*\()(?s:.*)")
_MAIN = re.compile(r"(?:[\w:]+\s+)*main\s*\(")
_STUB_STATEMENTS = 2
_DECLARES = re.compile(r"\b(?:Protocol|ABC|ABCMeta|abstractmethod|overload|abstractproperty)\b")
_ASKS_FOR_STUBS = re.compile(
    r"""\babstract\b | \bprotocols?\b | \bstubs?\b | \bskeleton\b | \bboilerplate\b | \bNotImplemented
    | \bunimplemented\b | \bdo(?:es|ing)?\ nothing\b | \bno-?op\b | \bbase\ class\b | \bmarker\b
    | \bempty\ (?:function|method|class|body|main|program|implementation)""",
    re.IGNORECASE | re.VERBOSE,
)


def is_comments(root: Node) -> bool:
    """Whether there are only comments (in Python also a docstring)."""
    return all(child.type in COMMENTS or _is_docstring(child) for child in root.named_children)


def _is_docstring(node: Node) -> bool:
    return node.type == "expression_statement" and [
        child.type for child in node.named_children
    ] == ["string"]


def is_stub(root: Node, task: str) -> bool:
    """Whether every function is unimplemented and there is no other code, and the task does not
    ask for stubs.
    """
    undone = False
    for node in _outline(root):
        if node.type in _CLASSES:  # one without a member
            undone |= _PLACEHOLDER.search(_text(node)) is not None
        elif node.type in _FUNCTIONS and _is_unimplemented(node):
            undone = True
        elif node.type not in _CONSTRUCTORS:
            return False
    return undone and not _DECLARES.search(_text(root)) and not _ASKS_FOR_STUBS.search(task)


def _outline(node: Node) -> Iterator[Node]:
    """The outermost functions, classes without members, and any other statement that does
    something.
    """
    for child in node.named_children:
        if child.type in _NO_WORK:
            continue
        if child.type not in _WRAPPERS:
            yield child
            continue
        members = list(_outline(child))
        if not members and child.type in _CLASSES:
            yield child
        yield from members


def _is_unimplemented(function: Node) -> bool:
    body = function.child_by_field_name("body")
    if body is None:
        return False
    statements = [node for node in body.named_children if node.type not in COMMENTS]
    if (
        statements
        and statements[0].type == "expression_statement"
        and _text(statements[0])[:1] in "\"'"
    ):
        statements = statements[1:]  # a docstring
    if len(statements) > _STUB_STATEMENTS:
        return False
    said = [_text(node).strip() for node in statements]
    if not said and not body.named_children:
        return (
            _MAIN.match(_text(function)) is not None
        )  # an empty handler may be all that is wanted, no empty program
    if said and all(_NOTHING.fullmatch(text) or _says_undone(text) for text in said):
        return True
    noted = any(
        node.type in COMMENTS and _PLACEHOLDER.search(_text(node)) for node in body.named_children
    )
    return noted and all(_LITERAL_RETURN.fullmatch(text) for text in said)


def _says_undone(text: str) -> bool:
    return bool(
        _UNDONE.fullmatch(text) or (_COMPLAINT.fullmatch(text) and _PLACEHOLDER.search(text))
    )


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


_LEFT_OUT = re.compile(
    r"""^[ \t]*(?:\#|//|/\*)[ \t]*(?:
        (?:\.{3}|…)[ \t]*\(?(?:the[ ])?(?:rest|remaining|remainder|existing|unchanged|omitted)\b
      | \((?:the[ ])?(?:rest|remaining|remainder|existing)\b[^\n]*\b(?:code|unchanged|same|omitted|implementation)\b
    )[^\n]*$""",
    re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)
_LEFT_OUT_SIGNS = (
    "...",
    "…",
    *(f"({the}{what}" for the in ("", "the ") for what in ("rest", "remain", "existing")),
)
"""Substrings that every match contains: searching for these first is much faster."""
_COMMENT_MARKS = ("#", "//", "*", "/*")


def is_elided(code: str) -> bool:
    """Whether a comment line replaces omitted code: `// ... rest of the implementation`."""
    said = code.lower()
    if not any(sign in said for sign in _LEFT_OUT_SIGNS):
        return False
    for found in _LEFT_OUT.finditer(code):
        above = code[: found.start()].rstrip("\n").rpartition("\n")[2].lstrip()
        below = code[found.end() :].lstrip("\n").partition("\n")[0].lstrip()
        if not above.startswith(_COMMENT_MARKS) and not below.startswith(_COMMENT_MARKS):
            return True
    return False


_WORD = re.compile(r"\w+")
_LAST_WORD = re.compile(r"(?:(?<=\.)|(?<![\w$@#]))[^\W\d]\w*\Z")
_MAX_NAME_CHARS = 80
_NO_USE = kinds(
    """aliased_import dotted_name import_from_statement global_statement nonlocal_statement delete_statement
    as_pattern_target import_specifier export_specifier namespace_import"""
)


def may_be_cut_in_word(code: str) -> bool:
    """Whether Python that compiles may end in a truncated name (not a function's result that was
    named before).
    """
    found = _last_word(code)
    if found is None:
        return False
    line = code.rpartition("\n")[2].lstrip()
    return not line.startswith("return ") or ";" in line or f" {found[0]} " not in code


def is_cut_in_word(code: str, task: str, language: str, root: Node) -> bool:
    """Whether the text ends, without a line's end, in a name that was to be longer, or that nothing
    is done with.

    Python: inside a function, a statement that is only a name, or the one name in the text that no
    one defined. Others: a constant without a value, a statement, or in Go the result of a function
    without a body, that is only the beginning of a longer word, or a name that is nowhere else and
    begins one that is.
    """
    found = _last_word(code)
    if found is None:
        return False
    end = len(code.encode(errors="replace"))
    leaf = root.descendant_for_byte_range(end - 1, end)
    if (
        leaf is None
        or leaf.parent is None
        or "identifier" not in leaf.type
        or leaf.parent.type in _NO_USE
    ):
        return False
    word, before = found.group(), code[: found.start()]
    words = set(_WORD.findall(before))
    if language == "python":
        if not _is_in_function(leaf) or _is_statement(leaf):
            return _is_in_function(leaf)
        known = word in words or word in _WORD.findall(task)
        return not known and cpython.undefined_names(code) == {word}
    if leaf.parent.type == "variable_declarator":
        return _text(leaf.parent.parent or leaf).startswith("const ")
    if before.endswith(".") or word in words:
        return False
    longer = (
        words | KEYWORDS
        if _is_statement(leaf) or _is_result(leaf)
        else words
        if len(word) > 1
        else set()
    )
    return any(other.startswith(word) for other in longer)


def _last_word(code: str) -> re.Match[str] | None:
    ends_in_word = code[-1:].isalnum() or code.endswith("_")
    return _LAST_WORD.search(code, max(0, len(code) - _MAX_NAME_CHARS)) if ends_in_word else None


def _is_statement(leaf: Node) -> bool:
    node = leaf.parent
    while node is not None and node.type == "attribute":
        node = node.parent
    return node is not None and node.type in (
        "expression_statement",
        "program",
        "source_file",
        "translation_unit",
    )


def _is_result(leaf: Node) -> bool:
    return leaf.parent is not None and leaf.parent.type == "function_declaration"


def _is_in_function(node: Node | None) -> bool:
    while node is not None and node.type != "function_definition":
        node = node.parent
    return node is not None
