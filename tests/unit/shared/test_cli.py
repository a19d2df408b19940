"""The command `markbook`: help, errors, exit statuses, and what is imported for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer

from markbook.cli import main, root
from markbook.cli.commands import COMMANDS, SECTIONS, CommandSource
from markbook.cli.options import INTERRUPTED, new_app

SUBCOMMANDS = [
    *([name] for name in COMMANDS),
    *(["keys", name] for name in ("add", "list", "revoke")),
    ["tasks", "check"],
]


def shown_help(capsys, *arguments: str) -> str:
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def test_help_lists_every_command_under_its_section(capsys):
    shown = shown_help(capsys)
    for title, commands in SECTIONS.items():
        block = shown[shown.index(f"{title.capitalize()}:") :].split("\n\n")[0]
        for name, source in commands.items():
            assert re.search(rf"^  {name} +{source.help}$", block, re.MULTILINE)


@pytest.mark.parametrize("command", SUBCOMMANDS, ids=" ".join)
def test_the_help_of_each_command_fits_80_columns(capsys, command):
    shown = shown_help(capsys, *command)
    assert shown.startswith(f"Usage: markbook {' '.join(command)} ")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_ends_with_examples(capsys, name):
    shown = shown_help(capsys, name)
    assert f"Examples:\n    markbook {name}" in shown or "Examples:\n    MARKBOOK_TEACHER" in shown


def test_an_unknown_command_is_an_error_with_the_nearest_name(capsys):
    assert main(["stat"]) == 2
    assert "No such command 'stat'. Did you mean 'stats'" in capsys.readouterr().err


def test_an_unknown_option_is_an_error_with_the_nearest_name(capsys):
    assert main(["stats", "--jsn"]) == 2
    assert "No such option: --jsn" in capsys.readouterr().err


def test_without_a_command_the_help_is_printed_and_python_m_of_the_service_serves(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: markbook [OPTIONS] COMMAND")
    assert main(["--help"], default="serve") == 0
    assert capsys.readouterr().out.startswith("Usage: markbook [OPTIONS] COMMAND")
    assert main(["--prot", "0"], default="serve") == 2
    assert "Usage: markbook serve" in capsys.readouterr().err


def test_the_version_is_that_of_the_distribution(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"markbook \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def with_command(monkeypatch, action) -> None:
    """`markbook stats` runs `action`."""
    app = new_app("A command of the test.")
    app.command()(action)
    monkeypatch.setattr(root, "import_module", lambda name: SimpleNamespace(app=app))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), INTERRUPTED),
        (BrokenPipeError(32, "Pipe"), 1),
        (typer.Exit(5), 5),
        (SystemExit(0), 0),
    ],
)
def test_how_a_command_ends_is_the_exit_status_without_a_traceback(
    monkeypatch, capfd, error, status
):
    def action() -> None:
        raise error

    with_command(monkeypatch, action)
    assert main(["stats"]) == status
    assert capfd.readouterr().err == ""


def test_a_closed_pipe_ends_a_command_in_silence():
    program = "import sys; from markbook.cli import main; sys.exit(main(['--help']))"
    command = f'{sys.executable} -c "{program}" | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in (
        "0",
        "1",
    )  # 0 where the help was written before the reader had ended


def run_with(redirection: str, arguments: list[str], unbuffered: str = "") -> tuple[int, str]:
    """Exit status and standard error of the command line in a shell."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    program = f"import sys; from markbook.cli import main; sys.exit(main({arguments}))"
    command = f'{sys.executable} -c "{program}" {redirection}'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--version"], ["rubric", "check"], ["rubric", "show", "--prompt", "x" * 9999]]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line_and_no_status_of_the_command(arguments, unbuffered):
    full = run_with("> /dev/full", arguments, unbuffered)
    assert full == (2, "cannot write to standard output: No space left on device\n")


def test_an_error_of_another_file_is_a_defect(monkeypatch):
    def action() -> None:
        raise OSError(28, "No space left on device")

    with_command(monkeypatch, action)
    with pytest.raises(OSError, match="No space"):
        main(["stats"])


def test_closed_standard_streams_are_no_traceback():
    assert run_with(">&-", ["--version"]) == (0, "")
    assert run_with(">&-", ["rubric", "check"]) == (0, "")
    closed = (2, "cannot read -: standard input is closed\n")
    assert run_with("<&-", ["score", "-", "--language", "python", "--prompt", "p"]) == closed


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch, capsys):
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(root, "import_module", missing)
    assert main(["train"]) == 2
    assert (
        capsys.readouterr().err
        == "markbook train needs torch, which is not installed: pip install 'markbook[trainer]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_a_defect(monkeypatch):
    monkeypatch.setitem(root.COMMANDS, "stats", CommandSource("", "markbook.nowhere"))
    with pytest.raises(ModuleNotFoundError):
        main(["stats"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["stats", "--help"], ["train", "--help"], ["--version"]]
)
def test_help_loads_neither_torch_nor_a_database(arguments):
    program = (
        f"import sys; from markbook.cli import main; main({arguments}); "
        "print(*sorted({'torch', 'transformers', 'sqlalchemy', 'uvicorn'} & set(sys.modules)), "
        "file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == []


def test_completion_offers_commands_and_options():
    program = "import sys; from markbook.cli import main; sys.exit(main())"

    def complete(line: str) -> list[str]:
        environment = {
            "_MARKBOOK_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        return done.stdout.split()

    assert {"stats", "score", "train"} <= set(complete("markbook "))
    assert "--since" in complete("markbook stats --")
