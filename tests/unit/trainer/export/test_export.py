"""Export: what is written says what base and adapter say, is there whole or not at all, and is
never written over.
"""

from __future__ import annotations

import pytest
import torch
import transformers
import yaml

from markbook.cli import main
from markbook.cli.options import FAILED
from markbook.config.settings import Config, Training
from markbook.trainer.cli.merge import DIFFERS
from markbook.trainer.data.tasks import render
from markbook.trainer.export import merge
from tests.tiny import tiny_policy

TRAINING = {"lora_r": 4, "lora_alpha": 8, "device": "cpu"}


@pytest.fixture
def trained(tmp_path, student, monkeypatch):
    """A run in `runs/mine` whose adapter changes something; returns the policy."""
    monkeypatch.chdir(tmp_path)
    policy = tiny_policy(Training(**TRAINING))
    run_dir = tmp_path / "runs" / "mine"
    policy.save_adapter(run_dir / "adapter")
    (run_dir / "metrics.jsonl").touch()
    config = Config(training=Training(model=str(student), **TRAINING))
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return policy


def log_probs(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits.float().log_softmax(-1)


def test_transformers_alone_loads_it_and_gives_the_adapters_log_probs(trained, tmp_path, capsys):
    assert main(["merge", "mine", "out/deep"]) == 0
    out = tmp_path / "out" / "deep"
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = render(tokenizer, "reverse a list", "be brief")
    assert ids == render(
        trained.tokenizer, "reverse a list", "be brief"
    )  # the chat template is there
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.float32
    found, expected = log_probs(model, ids), log_probs(trained.model, ids)
    assert torch.allclose(found, expected, atol=1e-4)
    with trained.model.disable_adapter():
        assert not torch.allclose(
            found, log_probs(trained.model, ids), atol=1e-1
        )  # and not the base's
    assert not list(out.glob("adapter*"))
    assert list(out.glob("*.safetensors"))
    said = capsys.readouterr().out
    assert "wrote out/deep: " in said
    assert "its logits are the policy's, to " in said
    assert not list(out.parent.glob(".*"))


def test_in_another_number_format(trained, tmp_path):
    assert main(["merge", "runs/mine", "out", "--dtype", "bfloat16"]) == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("training", "dtype"),
    [
        ({"device": "cuda"}, torch.bfloat16),
        ({"device": "cuda", "dtype": "float32"}, torch.float32),
        ({"dtype": "bfloat16"}, torch.bfloat16),
    ],
)
def test_the_number_format_is_the_runs_on_whatever_machine(trained, tmp_path, training, dtype):
    file = tmp_path / "runs" / "mine" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["training"] |= training
    file.write_text(yaml.safe_dump(config))
    assert main(["merge", "mine", "out"]) == 0
    assert (
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype
        == dtype
    )


def test_into_the_folder_one_is_in(trained, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["merge", "../runs/mine", "."]) == 0
    assert list((tmp_path / "empty").glob("*.safetensors"))


def test_below_a_file_nothing_can_be_written(trained, tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert main(["merge", "mine", "taken/out"]) == FAILED
    assert "is a file" in capsys.readouterr().err


def test_a_folder_of_the_runs_name_is_not_the_run(trained, tmp_path):
    (tmp_path / "mine").mkdir()
    assert main(["merge", "mine", "out"]) == 0


def test_the_adapter_of_a_checkpoint(trained, tmp_path, capsys):
    trained.save_adapter(tmp_path / "runs" / "mine" / "checkpoints" / "step-3")
    assert main(["merge", "mine", "out", "--checkpoint", "step-3"]) == 0
    assert "checkpoints/step-3" in capsys.readouterr().out
    assert main(["merge", "mine", "other", "--checkpoint", "step-4"]) == FAILED
    assert (
        "no adapter in runs/mine/checkpoints/step-4; checkpoints: step-3" in capsys.readouterr().err
    )


def test_what_cannot_be_exported_is_one_line_and_writes_nothing(trained, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    (tmp_path / "file").touch()
    for arguments, message in [
        (["nobody", "out"], "there is no run in runs/nobody; the newest one is runs/mine"),
        (["mine", "full"], "full is there already and not empty"),
        (["mine", "file"], "file is there already and not empty"),
    ]:
        assert main(["merge", *arguments]) == FAILED
        said = capsys.readouterr().err
        assert message in said
        assert len(said.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "runs"]
    (tmp_path / "empty").mkdir()
    assert main(["merge", "mine", "empty"]) == 0


@pytest.mark.parametrize("after", ["merging the adapter", "writing it down"])
def test_what_is_not_the_policy_is_not_left_behind(trained, tmp_path, capsys, monkeypatch, after):
    compare = merge._compare

    def spoiled(found, expected, what):
        return compare(found + (0.01 if what == after else 0.0), expected, what)

    monkeypatch.setattr(merge, "_compare", spoiled)
    assert main(["merge", "mine", "out"]) == DIFFERS
    assert f"after {after} the logits are not the policy's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
