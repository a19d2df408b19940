"""YAML as its author means it: numbers as in YAML 1.2, and an error where a key or a number has two
readings.

PyYAML reads YAML 1.1, where `010` is 8, `1:30` is 90, `2026-01-02` is a date and `off` is false,
and keeps the last of two equal keys without a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Plain scalars by its own rules, no key twice."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - typed so in PyYAML's stubs

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if (
                not isinstance(key_node, yaml.ScalarNode)
                or key_node.tag == "tag:yaml.org,2002:merge"
            ):
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise yaml.YAMLError(
                    f"the key {key_node.value} is given twice, in lines {lines[key]} and {line}"
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def _two_readings(_: _Loader, node: yaml.ScalarNode) -> int:
    digits = node.value.lstrip("+-0") or "0"
    raise yaml.YAMLError(
        f"line {node.start_mark.line + 1}: {node.value} is octal to some readers of YAML and "
        f"decimal to others: write {'-' * node.value.startswith('-')}{digits}, or '{node.value}' "
        "for a text"
    )


# The first that matches counts. Numbers with `_` and in binary are of YAML 1.1 only, but nothing
# else can be meant.
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("two-readings", r"[-+]?0[0-9_]+", list("-+0")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:two-readings", _two_readings)


def load_yaml(text: str) -> Any:
    """The value of the one document in `text`.

    Raises yaml.YAMLError, ValueError or RecursionError.
    """
    return yaml.load(text.removeprefix("\ufeff"), _Loader)
