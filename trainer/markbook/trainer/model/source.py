"""Where a student's weights come from, checked before torch is imported."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from markbook.config.loading import ConfigError

BUNDLED = "bundled:"


def check_source(model: str) -> None:
    """Raise ConfigError where `training.model` can only be a folder that does not exist.

    A name of the form `owner/name` may be on the Hugging Face Hub, a bare name only in its cache.
    """
    if model.startswith(BUNDLED) or Path(model).expanduser().is_dir():
        return
    if Path(model).exists():
        raise ConfigError(
            f"training.model {model} is a file: name the folder that holds config.json and the "
            "weights"
        )
    is_path = model.startswith(("/", "./", "../", "~")) or model.count("/") > 1
    if is_path or (
        "/" not in model and not isinstance(try_to_load_from_cache(model, "config.json"), str)
    ):
        raise ConfigError(
            f"training.model {model}: there is no such folder. A model of the Hugging Face Hub is "
            "named owner/name, the one that needs no network bundled:smollm2-135m"
        )
