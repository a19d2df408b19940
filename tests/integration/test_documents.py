"""Every command and snippet in the documents: run here, or named with the test that runs it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from markbook.demo.processes import free_port
from tests.processes import ROOT, ServiceProcess, clean_environment
from tests.tiny import save_tiny_student

TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
NEEDS_A_RUN = ROOT / "docs" / "reading-a-training-run.md"
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").rglob("*.md"), key=lambda page: page == NEEDS_A_RUN)]
BIN = f"{Path(sys.executable).parent}/"
WORKED_EXAMPLE = ROOT / "docs" / "your-own.md"
"""Run as a whole: its commands make the files that later ones need, and start a service of its
own.
"""
_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

# The start of a command -> the file that runs it and what it says there; or None and why nothing
# does.
ELSEWHERE: dict[str, tuple[str | None, str]] = {
    "make demo": ("tests/integration/test_demo.py", '"-m", "markbook.demo"'),
    "make test": (".ci/run", "make check test"),
    "make check": (".ci/run", "make check test"),
    "make test-long": (".ci/run", "make test-long"),
    "make vllm-test": (None, "a gigabyte is installed and a server takes minutes"),
    "make up": ("tests/unit/test_ports.py", '"make", "up"'),
    "make serve": ("tests/processes.py", '"markbook.scoring"'),
    "MARKBOOK_TEACHER=anthropic make serve": (
        "tests/compose/emulator.yaml",
        "MARKBOOK_TEACHER: anthropic",
    ),
    "make gpu-check": ("tests/unit/benchmarks/test_gpu_check.py", "gpu_check.main("),
    "python3 -m pip ": (None, "for a machine with a GPU and no network"),
    "PYTHONPATH=build/site-packages ": (
        "tests/unit/benchmarks/test_gpu_check.py",
        "gpu_check.main(",
    ),
    "make docs": ("tests/unit/test_site.py", '"make", "docs"'),
    "export ANTHROPIC_API_KEY=": (None, "the reader's key"),
    "git clone": (None, "the repository is here already"),
    "accelerate launch": ("tests/integration/test_trainer_ranks.py", "accelerate"),
    ".venv/bin/markbook score add.py --prompt-file task.md --batch": (
        "tests/integration/test_batches_commands.py",
        '"--batch"',
    ),
    ".venv/bin/markbook judge labelled.jsonl": (
        "tests/integration/test_judge.py",
        '["judge", "file.jsonl"',
    ),
    ".venv/bin/markbook rescore --run demo": ("tests/integration/test_rescore.py", '["rescore", '),
    ".venv/bin/markbook rescore --run mine": (
        "tests/integration/test_batches_rescore.py",
        '"rescore", ',
    ),
    ".venv/bin/markbook rubric try strict.md --from-store 100": (
        "tests/integration/test_batches_rescore.py",
        '"rubric", "try", "strict.md"',
    ),
    "docker ": ("tests/compose/stack.py", '"docker", "compose"'),
    "git pull": (None, "the reader's repository"),
    "kubectl ": (None, "no cluster; the manifest is checked against the schemas"),
    "VLLM_": (None, "no GPU; tests/generation_server.py speaks its protocol"),
    "vllm ": (None, "no GPU"),
    "OTEL_EXPORTER_OTLP_ENDPOINT=": (
        "tests/integration/test_tracing.py",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    ".venv/bin/pip install": (None, "installing belongs to the Makefile"),
}


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for found in _BLOCK.finditer(document.read_text()):
            if found["language"] == language:
                yield document, found["text"]


def commands(text: str) -> Iterator[str]:
    """The commands of a block, in one line or several. A last `&` falls away."""
    command = ""
    for line in text.splitlines(keepends=True):
        command += line
        if line.endswith("\\\n"):
            continue
        try:
            words = shlex.split(command, comments=True)
        except ValueError:  # a quote is open
            continue
        if words:
            yield command.strip().removesuffix("&").strip()
        command = ""


def elsewhere(command: str) -> tuple[str | None, str] | None:
    return next((where for start, where in ELSEWHERE.items() if command.startswith(start)), None)


WRITTEN = [
    (document, command)
    for document, text in blocks("sh")
    if document != WORKED_EXAMPLE
    for command in commands(text)
]
HERE = [(document, command) for document, command in WRITTEN if elsewhere(command) is None]


def test_what_is_run_elsewhere_is_run_there():
    for start, (file, needle) in ELSEWHERE.items():
        assert any(command.startswith(start) for _, command in WRITTEN), f"no document says {start}"
        assert file is None or needle in (ROOT / file).read_text(), (
            f"{start}: {file} has no {needle}"
        )


def test_a_block_that_names_no_language_holds_no_command():
    for document, text in blocks(""):
        assert not re.search(
            r"^(make|curl|docker|python|\.venv/bin/\S+|accelerate|pip) ", text, re.MULTILINE
        ), document


def anchors(document: Path) -> set[str]:
    """What its headings are called in links, as GitHub and mkdocs make the names."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", document.read_text()), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_links_between_the_documents_lead_somewhere():
    for document in DOCUMENTS:
        text = document.read_text()
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", text):
            file = document.parent / target if target else document
            assert file.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{document.name}: {target}#{anchor}"
        for image in re.findall(r'<img src="([^"]+)"', text):
            assert (document.parent / image).exists(), f"{document.name}: {image}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(f"sqlite:///{tmp_path_factory.mktemp('book') / 'book.db'}") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run: the configuration and the tasks as they stand, a tiny student,
    room for what is made.
    """
    folder = tmp_path_factory.mktemp("reader")
    for name in ("config.yaml", "demo", "docs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    save_tiny_student(folder / "student")
    return folder


def shell(command: str, folder: Path, url: str, book: str = "operator.db") -> str:
    """Run as a reader would, but for the port, the interpreter, the student and the length of
    the run.
    """
    command = command.replace("http://127.0.0.1:8000", url).replace(".venv/bin/", BIN)
    environment = clean_environment(
        MARKBOOK_DATABASE_URL=f"sqlite:///{folder / book}",
        MARKBOOK_URL=url,
        MARKBOOK_TRAINING__MODEL=str(folder / "student"),
        MARKBOOK_TRAINING__MAX_STEPS="1",
        MARKBOOK_TRAINING__MAX_NEW_TOKENS="8",
        MARKBOOK_TRAINING__PROMPTS_PER_STEP="1",
        MARKBOOK_TRAINING__EVAL_TASKS="null",
        PYTHONPATH=str(ROOT),
        OMP_NUM_THREADS="1",
        RUN=str(next(iter(sorted((folder / "runs").glob("*"))), "RUN")),
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.mark.long
def test_the_commands_of_the_documents_run(service: ServiceProcess, folder: Path):
    """One after another, in the order of the documents: one needs what the one before it made."""
    for _, command in HERE:
        said = shell(re.sub(r"\bRUN\b", '"$RUN"', command), folder, service.url)
        if "curl" in command and "/score" in command:
            [result] = json.loads(said)["results"]
            assert result["status"] == "scored"


@pytest.mark.long
def test_a_block_that_starts_the_service_runs_as_it_is_pasted(folder: Path):
    """In one go, with nothing that waits between its lines but what it says itself."""
    pasted = [text for _, text in blocks("sh") if "make serve &" in text and "curl" in text]
    assert pasted
    for text in pasted:
        port = free_port()
        start = f'make() {{ [ "$*" = serve ] && exec .venv/bin/markbook serve --port {port}; }}\n'
        said = shell(
            f"{start}trap 'kill %1; wait' EXIT\nset -m\n{text}",
            folder,
            f"http://127.0.0.1:{port}",
            "pasted.db",
        )
        assert '"status":"scored"' in said, said


@pytest.mark.long
def test_the_worked_example_runs_as_it_is_pasted(tmp_path: Path):
    """From top to bottom, with a tiny student in place of the bundled one and short samples."""
    save_tiny_student(tmp_path / "student")
    text = "\n".join(text for document, text in blocks("sh") if document == WORKED_EXAMPLE)
    for student in ("bundled:smollm2-135m", "data/models/smollm2-135m"):
        assert student in text
        text = text.replace(student, str(tmp_path / "student"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    text = text.replace("http://127.0.0.1:8000", url).replace(".venv/bin/", BIN)
    text = re.sub(r"max_new_tokens(=|: )80", r"max_new_tokens\g<1>8", text)
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            f"trap '{{ kill %1; wait; }} 2>/dev/null || true' EXIT\nset -m\n{text}",
        ],
        cwd=tmp_path,
        env=clean_environment(
            MARKBOOK_PORT=str(port), MARKBOOK_URL=url, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    mine = tmp_path / "mine"
    assert (
        json.loads((mine / "runs" / "mine-1" / "summary.json").read_text())["ended"] == "finished"
    )
    assert (mine / "model" / "model.safetensors").exists()
    assert re.findall(r"^step (\d): reward 0\.\d+, 4 of 4 scored$", done.stdout, re.MULTILINE) == [
        "1",
        "2",
        "3",
        "4",
    ]
    assert "my-trainer" in done.stdout


def test_no_command_hides_that_nobody_answered():
    for document in DOCUMENTS:
        assert not re.search(r"curl -s\b(?!S)", document.read_text()), document


def test_no_folder_is_mounted_by_a_name_that_compose_takes_for_a_volume():
    for document in DOCUMENTS:
        assert not re.search(r"-v \.", document.read_text()), document


@pytest.mark.long
def test_the_snippets_for_the_client_run(service: ServiceProcess, folder: Path):
    snippets = [text for _, text in blocks("python") if "from markbook.client" in text]
    assert snippets
    for text in snippets:
        if "report_metrics" in text:
            assert (
                shell(f".venv/bin/python - <<'EOF'\n{text}\nEOF", folder, service.url) == "0.71\n"
            )
            continue
        said = shell(f".venv/bin/python - <<'EOF'\n{text}\nprint(result)\nEOF", folder, service.url)
        assert "status='scored'" in said


def test_the_commands_are_read_as_a_shell_reads_them():
    text = "make serve &\n# it's on\ncurl -d '{\n  1}' http://x  # that's it\n\nls \\\n  -l\n"
    assert list(commands(text)) == [
        "make serve",
        "curl -d '{\n  1}' http://x  # that's it",
        "ls \\\n  -l",
    ]
