"""Code that parses and still is no answer: comments only, a stub, a last word cut short."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator

from tree_sitter import Node

from services.scoring.heuristics.grammars import COMMENTS
from services.scoring.heuristics.wording import KEYWORDS

_FUNCTIONS = frozenset(
    "function_definition function_item function_declaration method_declaration method_definition constructor_declaration"
    " arrow_function function_expression generator_function_declaration compact_constructor_declaration".split()
)
_CONSTRUCTORS = frozenset({"constructor_declaration", "compact_constructor_declaration"})
# what holds functions without being work itself
_WRAPPERS = frozenset(
    "class_definition class_specifier class_declaration class_body block declaration_list field_declaration_list impl_item"
    " namespace_definition export_statement decorated_definition lexical_declaration variable_declarator mod_item"
    " abstract_class_declaration object_declaration template_declaration linkage_specification".split()
)
_IMPORTS = frozenset(
    "import_statement import_from_statement future_import_statement import_declaration package_declaration package_clause"
    " use_declaration preproc_include using_declaration namespace_use_declaration preproc_call extern_crate_declaration"
    " attribute_item inner_attribute_item access_specifier empty_statement".split()
)
_NAMES = frozenset(
    "identifier type_identifier name namespace_identifier property_identifier modifiers visibility_modifier type_parameters"
    " template_parameter_list nested_namespace_specifier decorator".split()
)

_PLACEHOLDER = re.compile(
    r"\btodo\b|\bfixme\b|\bimplement|\byour (?:code|solution|implementation)\b|\b(?:code|logic|solution) (?:goes )?here\b|\bfill in\b"
    r"|\bnot yet\b|\bplaceholder\b|\bremove this\b|\bwrite (?:your|the) ",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"pass|\.\.\.|;|\(\)")
_LITERAL_RETURN = re.compile(r"return\b\s*(?:[-\w.]{0,12}|\"\"|''|\[\]|\{\}|\(\)|nullptr)?\s*;?")
_UNDONE = re.compile(
    r"raise\s+NotImplemented(?:Error)?\b[^\n]*|throw\s+(?:new\s+)?[\w:.]*(?:NotImplemented|UnsupportedOperation)\w*[^\n]*"
    r"|(?:std::)?(?:todo|unimplemented)!\s*[(\[{](?s:.*)[)\]}]\s*;?"
)
_STUB_STATEMENTS = 2
_MAIN = re.compile(r"(?:[\w:]+\s+)*main\s*\(")
_COMPLAINT = re.compile(r"(?:throw\b|raise\b|panic!?\s*\()(?s:.*)")
_DECLARES = re.compile(r"\b(?:Protocol|ABC|ABCMeta|abstractmethod|overload|abstractproperty|type_check_only)\b")
_ASKS_FOR_STUBS = re.compile(
    r"\babstract\b|\bprotocols?\b|\bstubs?\b|\bskeleton\b|\bboilerplate\b|\bNotImplemented|\bunimplemented\b|\bdo(?:es|ing)? nothing\b|\bno-?op\b"
    r"|\bempty (?:function|method|class|body|main|program|implementation)|\bbase class\b|\bmarker\b",
    re.IGNORECASE,
)


def is_comments(root: Node) -> bool:
    """Whether there is nothing but comments, or in Python a docstring."""
    return all(
        child.type in COMMENTS
        or (child.type == "expression_statement" and [inner.type for inner in child.named_children] == ["string"])
        for child in root.named_children
    )


def is_stub(root: Node, task: str) -> bool:
    """Whether every function leaves its work undone and there is nothing else, though the task asks for work."""
    states: list[str] = []
    hollow: list[Node] = []  # classes without a member
    for node in _outline(root):
        if node.type in _WRAPPERS:
            hollow.append(node)
        elif node.type not in _FUNCTIONS or (state := _state(node)) == "work":
            return False
        elif node.type not in _CONSTRUCTORS:
            states.append(state)
    if hollow:
        undone = "undone" in states or any(_PLACEHOLDER.search(_text(node)) for node in hollow)
    else:
        undone = bool(states)
    return undone and not _DECLARES.search(_text(root)) and not _ASKS_FOR_STUBS.search(task)


def _outline(node: Node) -> Iterator[Node]:
    """The outermost functions, the wrappers without any member, and whatever else is no import, name or comment."""
    for child in node.named_children:
        kind = child.type
        if kind in COMMENTS or kind in _IMPORTS or kind in _NAMES:
            continue
        if kind in _WRAPPERS:
            inner = list(_outline(child))
            yield from inner
            if not inner and "class" in kind and kind != "class_body":
                yield child
        elif kind == "pass_statement":
            continue
        else:
            yield child


def _state(function: Node) -> str:
    """`undone` (says so), `empty` (a program of nothing) or `work`."""
    body = function.child_by_field_name("body")
    if body is None:
        return "work"
    statements = [node for node in body.named_children if node.type not in COMMENTS]
    if statements and statements[0].type == "expression_statement" and _text(statements[0])[:1] in "\"'":
        statements = statements[1:]  # a docstring
    if len(statements) > _STUB_STATEMENTS:
        return "work"
    said = [_text(node).strip() for node in statements]
    if said and all(_undone(text) for text in said):
        return "undone"
    noted = any(node.type in COMMENTS and _PLACEHOLDER.search(_text(node)) for node in body.named_children)
    if all(_NOTHING.fullmatch(text) for text in said):
        if noted or said:
            return "undone"
        # an empty handler may be all that is wanted, an empty program is not
        return "empty" if _MAIN.match(_text(function)) and not body.named_children else "work"
    return "undone" if noted and all(_LITERAL_RETURN.fullmatch(text) for text in said) else "work"


def _undone(text: str) -> bool:
    return bool(_UNDONE.fullmatch(text) or (_COMPLAINT.fullmatch(text) and _PLACEHOLDER.search(text)))


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


_WORD = re.compile(r"\w+")
_LAST_WORD = re.compile(r"(?<![\w.$@#])[^\W\d]\w*\Z")
_LONGEST_NAME = 80
_PYTHON_NAMES = frozenset(dir(builtins)) | {"__file__", "__class__"}
_SCRIPT_GLOBALS = frozenset("window document global globalThis process module exports require console self".split())
_NO_USE = frozenset(
    "aliased_import dotted_name import_from_statement global_statement nonlocal_statement delete_statement as_pattern_target"
    " import_specifier export_specifier namespace_import".split()
)


def ends_in_half_a_word(code: str, task: str, language: str, root: Node) -> bool:
    """Whether the text ends, without a line's end, in a name that is nowhere else and that a longer word begins with.

    In Python also: in a name no one defined, or inside a function in a statement that is only a name.
    """
    found = _LAST_WORD.search(code, max(0, len(code) - _LONGEST_NAME))
    if found is None:
        return False
    end = len(code.encode(errors="replace"))
    leaf = root.descendant_for_byte_range(end - 1, end)
    parent = leaf.parent if leaf else None
    if leaf is None or parent is None or "identifier" not in leaf.type or parent.type in _NO_USE:
        return False
    word = found.group()
    words = set(_WORD.findall(code[: found.start()]))
    if language == "python" and _idle(parent):
        return True
    if word in words or word in _PYTHON_NAMES or word in _SCRIPT_GLOBALS:
        return False
    if language == "python" and word not in _WORD.findall(task) and "import *" not in code:
        return True
    return any(longer.startswith(word) for longer in words | KEYWORDS[language])


def _idle(parent: Node) -> bool:
    while parent.type == "attribute" and parent.parent is not None:
        parent = parent.parent
    if parent.type != "expression_statement":
        return False
    above = parent.parent
    while above is not None and above.type != "function_definition":
        above = above.parent
    return above is not None
