"""A seeded workload in the shape of a training run: tasks, four answers to each, about a third of
them broken.

Tasks and answers are put together from the texts in texts/, which were written for this; the same
seed gives the same samples on every machine. Nobody's model wrote them: lengths and faults are like
those of real students, wording is more alike.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from string import Template

from tests.emulator.tokens import exact

LANGUAGES = ("python", "cpp", "rust")
TASK_TOKENS = range(500, 1001)
CODE_TOKENS = range(250, 451)
BROKEN_SHARE = 0.35

TEXTS = Path(__file__).parent / "texts"
_TEXTS = {
    file.stem: file.read_text(encoding="utf-8").split("=====\n") for file in TEXTS.glob("*.txt")
}
_PLACES = (
    "The harbour office",
    "A mountain weather service",
    "The city library",
    "A small dairy",
    "The railway museum",
    "A bird observatory",
    "The water board",
    "A bicycle workshop",
    "The botanical garden",
    "A school kitchen",
    "The fire brigade",
)
_LOGS = (
    # thing, what it is grouped by, what is measured, its unit
    ("delivery", "deliveries", "supplier", "weight", "kilograms"),
    ("reading", "readings", "station", "level", "millimetres"),
    ("loan", "loans", "branch", "pages", "pages"),
    ("repair", "repairs", "workshop", "minutes", "minutes"),
    ("visit", "visits", "entrance", "guests", "people"),
    ("sighting", "sightings", "species", "birds", "animals"),
    ("call", "calls", "district", "delay", "seconds"),
    ("harvest", "harvests", "field", "crates", "crates"),
)
_STATISTICS = {
    # words in the task, words in a docstring, then how each language keeps it up to date, and over
    # a list
    "sum": ("sum", "sum"),
    "max": ("largest one", "maximum"),
    "min": ("smallest one", "minimum"),
    "count": ("number", "number"),
}
_UPDATES = {
    ("python", "sum"): "$acc[key] = $acc.get(key, 0) + value",
    ("python", "max"): "$acc[key] = max(value, $acc.get(key, value))",
    ("python", "min"): "$acc[key] = min(value, $acc.get(key, value))",
    ("python", "count"): "$acc[key] = $acc.get(key, 0) + 1",
    ("cpp", "sum"): "$acc[key] += value;",
    ("cpp", "max"): "$acc[key] = $acc.count(key) ? std::max($acc[key], value) : value;",
    ("cpp", "min"): "$acc[key] = $acc.count(key) ? std::min($acc[key], value) : value;",
    ("cpp", "count"): "++$acc[key];",
    ("rust", "sum"): "*$acc.entry(key).or_insert(0) += value;",
    (
        "rust",
        "max",
    ): "$acc.entry(key).and_modify(|best| *best = value.max(*best)).or_insert(value);",
    (
        "rust",
        "min",
    ): "$acc.entry(key).and_modify(|best| *best = value.min(*best)).or_insert(value);",
    ("rust", "count"): "*$acc.entry(key).or_insert(0) += 1;",
}
_REDUCTIONS = {
    ("python", "sum"): "sum",
    ("python", "max"): "max",
    ("python", "min"): "min",
    ("python", "count"): "len",
    ("rust", "sum"): "values.iter().sum::<i64>()",
    ("rust", "max"): "*values.iter().max().unwrap()",
    ("rust", "min"): "*values.iter().min().unwrap()",
    ("rust", "count"): "values.len() as i64",
}
_SIGNATURES = {
    "python": "`$fn(lines)`",
    "cpp": "`std::vector<std::string> $fn(const std::vector<std::string>& lines)`",
    "rust": "`pub fn $fn(lines: &[String]) -> Result<Vec<String>, String>`",
}
_ERRORS = {
    "python": "raise `ValueError`",
    "cpp": "throw `std::invalid_argument`",
    "rust": "return `Err` with a text that says so",
}


@dataclass(frozen=True)
class Report:
    """The numbers and names of one task: the first `shown` names by `statistic` of their values
    of at least `low`.
    """

    function: str
    statistic: str
    low: int
    shown: int


@dataclass(frozen=True)
class ScoredRequest:
    """One sample. `fault` says in which way it is broken or wrong, None if it is right.

    `report` is what the task asks for, from which tests are made. `tests` are sent along with the
    sample.
    """

    task: str
    language: str
    code: str
    fault: str | None
    report: Report
    tests: tuple[str, ...] = ()


def workload(
    tasks: int = 88, per_task: int = 4, left_out: int = 2, seed: int = 0
) -> list[ScoredRequest]:
    """`per_task` answers to each of `tasks` tasks, less the last `left_out`; a share of
    BROKEN_SHARE is broken.
    """
    draw = random.Random(seed)
    answers = sound(draw, LANGUAGES, tasks, per_task)[: tasks * per_task - left_out]
    for index in draw.sample(range(len(answers)), round(BROKEN_SHARE * len(answers))):
        answers[index] = broken(draw, answers[index])
    return answers


def sound(
    draw: random.Random, languages: Sequence[str], tasks: int, per_task: int
) -> list[ScoredRequest]:
    """`per_task` answers to each of `tasks` tasks, in the languages in turn; none of them is
    broken.
    """
    subjects = draw.sample(list(itertools.product(_PLACES, _LOGS)), tasks)
    return [
        answer
        for number, (place, log) in enumerate(subjects)
        for answer in _answers(draw, place, log, languages[number % len(languages)], per_task)
    ]


def _answers(
    draw: random.Random, place: str, log: tuple[str, ...], language: str, count: int
) -> list[ScoredRequest]:
    thing, things, key, value, unit = log
    statistic = draw.choice(list(_STATISTICS))
    low = draw.randrange(2, 90)
    words = {
        "place": place,
        "title": f"The {things} of {place[0].lower()}{place[1:]}",
        "class": thing.capitalize(),
        "things": things,
        "key": key,
        "keys": f"{key}s" if key[-1] != "s" else key,
        "value": value,
        "values": f"{value}s" if value[-1] != "s" else value,
        "unit": unit,
        "language": {"python": "Python", "cpp": "C++", "rust": "Rust"}[language],
        "stat": _STATISTICS[statistic][0],
        "stat_short": _STATISTICS[statistic][1],
        "low": str(low),
        "high": str(low + draw.randrange(1, 50)),
        "k": str(draw.randrange(3, 12)),
        "fn": f"{draw.choice(('top', 'report', 'largest', 'summary'))}_{things}",
        "example": f"{draw.choice(('north', 'old town', 'hill'))}: {draw.randrange(100, 900)}",
        "error": _ERRORS[language],
    }
    words["signature"] = Template(_SIGNATURES[language]).substitute(words)
    task = _task(draw, words)
    while exact(task) not in TASK_TOKENS:
        task = _task(draw, words)
    codes: list[str] = []
    while len(codes) < count:
        code = _code(draw, language, statistic, words)
        if code not in codes and exact(code) in CODE_TOKENS:
            codes.append(code)
    report = Report(words["fn"], statistic, low, int(words["k"]))
    return [ScoredRequest(task, language, code, None, report) for code in codes]


def _task(draw: random.Random, words: dict[str, str]) -> str:
    first, *more = _TEXTS["task"]
    chosen = sorted(draw.sample(range(len(more)), draw.randrange(5)))
    return (
        Template("\n".join([first, *(more[index] for index in chosen)])).substitute(words).strip()
    )


def _code(draw: random.Random, language: str, statistic: str, words: dict[str, str]) -> str:
    template = draw.choice(_TEXTS[language])
    kept = {"?d": draw.random() < 0.6, "?c": draw.random() < 0.5}
    lines = [line for line in template.splitlines() if kept.get(line[:2], True)]
    text = "\n".join(line[3:] if line[:2] in kept else line for line in lines)
    names = {
        "acc": draw.choice(("totals", "by_name", "found", "m")),
        "row": draw.choice(("row", "line", "record", "text")),
    }
    update = Template(_UPDATES[language, statistic]).substitute(names)
    reduce = _REDUCTIONS.get((language, statistic), "")
    return Template(text).substitute(words, **names, update=update, reduce=reduce)


def broken(draw: random.Random, answer: ScoredRequest) -> ScoredRequest:
    """The same answer as a student would break it."""
    [fault] = draw.choices(list(FAULTS), [weight for weight, _ in FAULTS.values()])
    return replace(answer, code=FAULTS[fault][1](draw, answer), fault=fault)


def _cut_off(draw: random.Random, answer: ScoredRequest) -> str:
    return answer.code[: round(len(answer.code) * draw.uniform(0.3, 0.95))]


def _bracket_lost(draw: random.Random, answer: ScoredRequest) -> str:
    places = [at for at, char in enumerate(answer.code) if char in "()[]{}"]
    at = draw.choice(places)
    return answer.code[:at] + answer.code[at + 1 :]


def _line_shifted(draw: random.Random, answer: ScoredRequest) -> str:
    """In Python a line two blanks off; elsewhere a line that has lost its end."""
    lines = answer.code.splitlines()
    inside = [
        at for at, line in enumerate(lines) if line.startswith("    ") and len(line.strip()) > 3
    ]
    at = draw.choice(inside)
    lines[at] = f"  {lines[at]}" if answer.language == "python" else lines[at][:-1]
    return "\n".join(lines)


def _other_language(draw: random.Random, answer: ScoredRequest) -> str:
    other = draw.choice([language for language in LANGUAGES if language != answer.language])
    words = dict.fromkeys(("k", "low"), "5") | dict.fromkeys(
        ("stat_short", "values", "keys"), "values"
    )
    words |= {
        "fn": "report",
        "key": "name",
        "value": "amount",
        "class": "Entry",
        "things": "entries",
    }
    return _code(draw, other, "sum", words)


def _talk(draw: random.Random, answer: ScoredRequest) -> str:
    starts = (
        "To solve this task, we first read each line and split it at the semicolons.",
        "Sure! Here is how one could approach this problem step by step.",
        "I'm sorry, but I can't help with this request as I cannot run code.",
    )
    rest = (
        "After that we look at the value and leave it out when it is too small.",
        "Then the names are sorted, and the first few of them are returned to the caller.",
        "It is important to handle empty lines and wrong lines in a good way.",
        "Finally, the function should be tested with a few examples to be sure that it works.",
    )
    return " ".join([draw.choice(starts), *draw.sample(rest, draw.randrange(2, 5))])


def _stuck(draw: random.Random, answer: ScoredRequest) -> str:
    """A line or two, again and again until the tokens run out."""
    lines = answer.code.splitlines()
    at = draw.randrange(3, len(lines) - 4)
    again = "\n".join(lines[at : at + draw.randrange(1, 4)])
    return "\n".join([*lines[:at], *[again] * (len(answer.code) // max(20, len(again)))])


def _stub(draw: random.Random, answer: ScoredRequest) -> str:
    fn = answer.task.split("(", 1)[0].rsplit("`", 1)[-1].split()[-1]
    return {
        "python": f"def {fn}(lines):\n    # TODO: implement this function\n    pass\n",
        "cpp": f"std::vector<std::string> {fn}(const std::vector<std::string>& lines) {{\n    // "
        "your code here\n}\n",
        "rust": f"pub fn {fn}(lines: &[String]) -> Result<Vec<String>, String> {{\n    "
        "todo!()\n}\n",
    }[answer.language]


FAULTS: dict[str, tuple[int, Callable[[random.Random, ScoredRequest], str]]] = {
    "cut off": (35, _cut_off),
    "bracket lost": (20, _bracket_lost),
    "line shifted": (10, _line_shifted),
    "other language": (8, _other_language),
    "talk": (10, _talk),
    "stuck": (7, _stuck),
    "stub": (10, _stub),
}
"""How students fail, and how often in a hundred broken samples."""


def describe(answers: list[ScoredRequest]) -> str:
    """The shape of a workload in two lines."""
    tasks = sorted(exact(task) for task in {answer.task for answer in answers})
    codes = sorted(exact(answer.code) for answer in answers if answer.fault is None)
    faults = Counter(answer.fault for answer in answers if answer.fault is not None)
    broken = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
    return (
        f"{len(answers)} samples of {len(tasks)} tasks; tasks of {tasks[0]} to {tasks[-1]} tokens "
        f"(mean {fmean(tasks):.0f}), code of {codes[0]} to {codes[-1]} (mean {fmean(codes):.0f})\n"
        f"{sum(faults.values())} broken: {broken}"
    )
