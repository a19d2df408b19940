"""Names of languages: what clients write, and the one name the service uses."""

from __future__ import annotations

from pathlib import PurePath

_ALIASES = {
    "python": ("py", "python2", "python3", "py3", "cpython", "pycon"),
    "cpp": (
        "c++",
        "cc",
        "cxx",
        "c++11",
        "c++14",
        "c++17",
        "c++20",
        "c++23",
        "hpp",
        "h++",
        "cplusplus",
    ),
    "rust": ("rs",),
    "go": ("golang",),
    "java": (),
    "javascript": ("js", "jsx", "node", "nodejs", "node.js", "mjs", "cjs", "ecmascript"),
    "typescript": ("ts", "mts", "cts"),
    "tsx": (),
}

_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def canonical(language: str) -> str:
    """The one name for a language: `py` -> `python`.

    An unknown name comes back stripped and in lower case.
    """
    name = language.strip().lower()
    return _CANONICAL.get(name, name)


def of_file(name: str) -> str | None:
    """The language of a file by its suffix, None where that is ambiguous."""
    return _CANONICAL.get(PurePath(name).suffix.lower().removeprefix("."))
