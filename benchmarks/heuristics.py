"""What the heuristic tier rejects of a corpus, by language and kind, beside two simpler rules, and
how long it takes.

    python -m benchmarks.heuristics ../shared/corpus

The folder holds good.jsonl.gz, good_realworld.jsonl.gz, variants.jsonl.gz and pairs.jsonl.gz: one
sample per line, with `language`, `prompt` and `code` (pairs: `good`, `bad` and `bug`), variants
also with `kind` and `label`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tree_sitter import Parser

from markbook.scoring.heuristics import HeuristicResult, classify
from markbook.scoring.heuristics.grammars import LANGUAGES
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract

NAMES = ("python", "cpp", "rust", "go", "java", "javascript", "typescript")
LABELS = ("good", "broken", "degenerate")
NOT_THE_TIERS = ("unimplemented_stub", "incomplete_or_noncompiling_exercise")
"""Bugs in the pairs that are no semantic ones: the code was left unfinished."""
SLOW_S = 0.005
TIMES = 5

# Published with the corpus, in % rejected: the rule this project started from (a score below 0.3),
# for kinds measured alike. The other published rule (the parse tree has an error, fences removed)
# is measured here as well.
ORIGINAL_RULE = {
    "good": 0.02,
    "trunc30": 6.0,
    "trunc60": 14.0,
    "trunc90": 22.0,
    "del_last_closer": 0.0,
    "wrong_language": 0.0,
    "refusal": 0.0,
    "prose": 0.0,
    "repeat_block": 0.0,
    "repeat_comment": 0.0,
    "stub": 0.0,
    "indent_break": 0.0,
}

T = TypeVar("T")


class Row(NamedTuple):
    """One sample judged."""

    id: str
    kind: str
    label: str
    language: str
    reason: str | None
    tree_error: bool
    seconds: float
    tree_seconds: float


def load(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of one file of the corpus."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def judged(sample: dict[str, Any], code: str, kind: str, label: str) -> Row:
    """Extract and judge one sample; the seconds are of CPU, for both together."""
    language = canonical(sample["language"])

    def judge_it() -> HeuristicResult:
        return classify(extract(code, language).code, sample["prompt"], language)

    seconds, result = timed(judge_it)
    extracted = extract(code, language).code
    tree_seconds, root = timed(
        lambda: Parser(LANGUAGES[language]).parse(f"{extracted}\n".encode()).root_node
    )
    reason = result.reasons[0] if result.reasons else None
    return Row(sample["id"], kind, label, language, reason, root.has_error, seconds, tree_seconds)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds and the result.

    What is slow is done again: a busy machine only adds, so the least is nearest.
    """
    least = math.inf
    for _ in range(TIMES):
        start = time.thread_time()
        result = work()
        least = min(least, time.thread_time() - start)
        if least < SLOW_S:
            break
    return least, result


def gather_rows(folder: Path) -> Iterator[Row]:
    """Every sample but the pairs', judged."""
    for sample in load(folder, "good"):
        yield judged(sample, sample["code"], "good", "good")
    for sample in load(folder, "good_realworld"):
        yield judged(sample, sample["code"], "real-world", "good")
    for sample in load(folder, "variants"):
        yield judged(sample, sample["code"], sample["kind"], sample["label"])


def percent(rejected: int, of: int) -> str:
    """A share in %, or a dash where there is nothing to share."""
    return f"{100 * rejected / of:.1f}" if of else "-"


def print_rejected(rows: list[Row]) -> None:
    """The share rejected, by kind and language."""
    print(
        f"\nRejected, in %{'':15}n"
        + "".join(f"{name[:10]:>11}" for name in (*NAMES, "all", "tree error", "original"))
    )
    by_kind: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row.label, row.kind].append(row)
        if row.label == "good" and row.kind not in ("good", "real-world"):
            by_kind[row.label, "good variants"].append(row)
    for (label, kind), some in sorted(
        by_kind.items(), key=lambda item: (LABELS.index(item[0][0]), item[0][1])
    ):
        cells = []
        for language in NAMES:
            here = [row for row in some if row.language == language]
            cells.append(percent(sum(row.reason is not None for row in here), len(here)))
        cells.append(percent(sum(row.reason is not None for row in some), len(some)))
        cells.append(percent(sum(row.tree_error for row in some), len(some)))
        cells.append(str(ORIGINAL_RULE.get(kind, "-")))
        print(f"{label:10} {kind:21}{len(some):5}" + "".join(f"{cell:>11}" for cell in cells))


def print_reasons(rows: list[Row]) -> None:
    """Each reason and where it was given, and every good sample that was rejected, by name."""
    print("\nReasons given")
    for reason, count in Counter(row.reason for row in rows if row.reason).most_common():
        kinds = Counter(row.kind for row in rows if row.reason == reason).most_common(4)
        print(f"  {reason:22}{count:5}  " + ", ".join(f"{kind} {n}" for kind, n in kinds))
    wrong = [row for row in rows if row.label == "good" and row.reason]
    print(f"\nGood samples rejected: {len(wrong)}")
    for row in wrong:
        print(f"  {row.id} ({row.kind}): {row.reason}")


def print_pairs(folder: Path) -> None:
    """Both sides of the semantic bugs, which the tier should pass."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    named = []
    for sample in load(folder, "pairs"):
        for side in ("good", "bad"):
            row = judged(sample, sample[side], sample["bug"], side)
            counts[sample["bug"]].update({"n": side == "good", side: row.reason is not None})
            if row.reason and (side == "good" or sample["bug"] not in NOT_THE_TIERS):
                named.append(
                    f"  {side} {row.id} ({sample['bug']}): "
                    f"{row.reason}{', does not parse' * row.tree_error}"
                )
    print(f"\n{'Pairs of good and bad, rejected in %':42}n       good        bad")
    for bug, count in sorted(counts.items()):
        print(
            f"  {bug:36}{count['n']:5}{percent(count['good'], count['n']):>11}"
            f"{percent(count['bad'], count['n']):>11}"
        )
    semantic = [count for bug, count in counts.items() if bug not in NOT_THE_TIERS]
    of = sum(count["n"] for count in semantic)
    sides = [percent(sum(count[side] for count in semantic), of) for side in ("good", "bad")]
    print(f"  {'semantic bugs together':36}{of:5}{sides[0]:>11}{sides[1]:>11}")
    print("\n".join(named))


def print_times(rows: list[Row]) -> None:
    """CPU time a sample, extraction included, beside that of the plain parse in the same minute
    on the same machine.
    """
    print(f"\nOver {1e3 * SLOW_S:g} ms: the least of {TIMES} times.")
    print(
        "CPU time a sample   good: mean µs  plain parse   ratio   all: mean µs  plain parse   "
        "ratio   worst ms"
    )
    for language in NAMES:
        every = [row for row in rows if row.language == language]
        good = [row for row in every if row.kind == "good"]
        cells = []
        for some in (good, every):
            ours, plain = sum(row.seconds for row in some), sum(row.tree_seconds for row in some)
            count = max(1, len(some))
            cells.append(
                f"{1e6 * ours / count:15.0f}{1e6 * plain / count:13.0f}"
                f"{ours / plain if some else 0.0:8.2f}"
            )
        worst = max((row.seconds for row in every), default=0.0)
        print(f"  {language:16}{''.join(cells)}{1e3 * worst:11.1f}")
    slowest = max(rows, key=lambda row: row.seconds)
    print(f"  worst: {slowest.id} ({slowest.kind})")
    print(
        "  published with the corpus, plain parse: python 65 µs, cpp 187 µs; original rule: python "
        "2 µs, cpp 9 µs"
    )


def main() -> None:
    """Read the corpus named on the command line and print the tables."""
    parser = argparse.ArgumentParser(
        description="What the heuristic tier rejects of a corpus of code."
    )
    parser.add_argument(
        "corpus", type=Path, help="folder with good.jsonl.gz, variants.jsonl.gz, ..."
    )
    folder = parser.parse_args().corpus
    if not (folder / "good.jsonl.gz").is_file():
        sys.exit(f"{folder} holds no corpus: good.jsonl.gz is not there")
    rows = list(gather_rows(folder))
    print_rejected(rows)
    print_reasons(rows)
    print_pairs(folder)
    print_times(rows)


if __name__ == "__main__":
    main()
