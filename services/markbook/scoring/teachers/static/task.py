"""The requirements that can be read from a task's text: a name, parameters, and operations."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CALL = re.compile(r"\b([A-Za-z_]\w*)\(([^()\n]*)\)")
_QUOTED_NAME = re.compile(r"`([A-Za-z_]\w*)`")

_COMPARISONS = "Lt LtE Gt GtE"
_LOOPS = "For While comprehension map"

_HINTS = tuple(
    (re.compile(pattern), frozenset(operations.split()))
    for pattern, operations in (
        (r"\b(sum|total|added|add)\b", "sum fsum accumulate reduce Add"),
        (r"\bproducts?\b|\bmultipl|\braised\b", "Mult prod pow reduce Pow"),
        (r"\bhow (many|often)\b|\bcount\b|\bnumber of\b|\boccur", "len sum count Counter Add In"),
        (r"\bhow many\b", f"{_LOOPS} count filter sum"),
        (
            r"\b(larg|long|great|high)(er|est)\b|\bmaximum\b",
            f"{_COMPARISONS} max sorted sort nlargest accumulate Mod gcd",
        ),
        (r"\b(small|short|low)(er|est)\b|\bminimum\b", f"{_COMPARISONS} min sorted sort nsmallest"),
        (
            r"\b(greater|above|below|more than|less than|at most|until)\b",
            f"{_COMPARISONS} max min abs range",
        ),
        (r"\bsort", f"{_COMPARISONS} sorted sort range"),
        (r"\bbackwards\b|\bopposite order\b|\brevers", "reversed reverse Slice insert"),
        (r"\b(mean|average|half|halving|percent)\b", "Div FloorDiv mean fmean median RShift"),
        (r"\b(divisors?|divided|divides|evenly|remainder|prime)\b", "Mod divmod gcd BitAnd"),
        (r"\bdictionary\b|\bmapping\b", "Dict DictComp dict Counter defaultdict fromkeys update"),
        (
            r"\breturns? (a|one|the) (sorted )?list\b|\binto lists\b",
            f"{_LOOPS} List ListComp list sorted Slice zip accumulate",
        ),
        (
            r"\b(each|every|all|pairwise)\b",
            f"{_LOOPS} zip Slice sum split join replace prod reduce count max min Pow",
        ),
        (r"\b(either|ignoring|upper|lower) case\b", "upper lower casefold title capitalize"),
        (r"\bsentence\b|\bwords? in\b", "split"),
        (r"\b(as a|one) string\b", "str join JoinedStr format bin"),
        (
            r"\b(distinct|without repeats|unique|in both)\b",
            "set Set SetComp In NotIn fromkeys intersection",
        ),
        (r"\b(index|positions?)\b", "enumerate index find range Subscript Slice accumulate"),
        (r"\btrue if\b|\bwhether\b", f"{_COMPARISONS} Eq NotEq In NotIn Not And Or all any"),
        (r"\breplaced\b|\btaken out\b", "replace sub translate join comprehension"),
        (r"\bor (none|-?\d+|an empty \w+) (for|if|when)\b", "If IfExp Or default prod Mult"),
    )
)


@dataclass(frozen=True, slots=True)
class TaskRequirements:
    """`operations`: for each phrase found in the task, syntax of which at least one piece is to
    be expected.
    """

    name: str | None
    parameters: tuple[str, ...]
    returns: bool
    operations: tuple[frozenset[str], ...]
    words: frozenset[str]


def read_task(task: str) -> TaskRequirements:
    """Read a task, truncated or not.

    The first call in it, such as `f(a, b)`, gives the name and parameters.
    """
    call = _CALL.search(task)
    named = call or _QUOTED_NAME.search(task)
    rest = task[named.end() :] if named else task
    lowered = rest.lower()
    return TaskRequirements(
        name=named[1] if named else None,
        parameters=tuple(_parameter_names(call[2])) if call else (),
        returns="print" not in lowered or "return" in lowered,
        operations=tuple(operations for phrase, operations in _HINTS if phrase.search(lowered)),
        words=frozenset(re.findall(r"[a-z]+", task.replace("_", " ").lower())),
    )


def _parameter_names(text: str) -> list[str]:
    """`a, b=1`, `a: int` and `int a` alike."""
    parts = [part.split("=")[0] for part in text.split(",")]
    names = [re.findall(r"[A-Za-z_]\w*", part) for part in parts]
    return [
        found[0] if ":" in part else found[-1]
        for part, found in zip(parts, names, strict=True)
        if found
    ]
