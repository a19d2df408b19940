"""Where `training.model` may point, said before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from markbook.config.loading import ConfigError
from markbook.trainer.model import source
from markbook.trainer.model.source import check_source


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "try_to_load_from_cache", lambda *_: None)


@pytest.mark.parametrize(
    "model", ["my-student", "./student", "/nowhere/student", "~/nowhere/student", "a/b/c"]
)
def test_a_folder_that_is_not_there(model):
    with pytest.raises(ConfigError, match=f"training.model {model}: there is no such folder"):
        check_source(model)


@pytest.mark.parametrize("model", ["bundled:smollm2-135m", "Qwen/Qwen3-0.6B", "student"])
def test_what_may_be_there_is_left_to_the_loader(model, tmp_path):
    (tmp_path / "student").mkdir()
    check_source(model)


def test_a_bare_name_in_the_hubs_cache_is_used(monkeypatch):
    monkeypatch.setattr(source, "try_to_load_from_cache", lambda *_: "/cache/config.json")
    check_source("gpt2")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"model.safetensors is a file: name the folder"):
        check_source("model.safetensors")


def test_the_trainer_says_so_without_importing_torch(tmp_path):
    program = (
        "import sys; from markbook.cli import main; code = main(['train']); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "p", "language": "python"}\n')
    settings = "training: {model: my-student, tasks: tasks.jsonl, eval_tasks: null}\n"
    (tmp_path / "config.yaml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith("training.model my-student: there is no such folder.")
    assert done.stderr.count("\n") == 1
