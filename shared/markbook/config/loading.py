"""Reading the one `config.yaml` of both processes: the file, the environment over it, and errors
a user can act on.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from markbook.config.environment import PREFIX, SHORT_NAMES, own_variables, unknown_variables
from markbook.config.renamed_keys import RENAMED, under_new_names
from markbook.config.settings import Config, Rlaif
from markbook.config.strict_yaml import load_yaml
from markbook.errors import MarkbookError
from markbook.redaction import hide_secrets


class ConfigError(MarkbookError):
    """The configuration cannot be used. The message is one line that a user can act on."""


def load_config(
    path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    old_names: bool = False,
) -> Config:
    """Read `path`, else `$MARKBOOK_CONFIG`, else `./config.yaml` if it is there, else the defaults.

    `MARKBOOK_SECTION__KEY=value` overrides any key of the file, its value read as YAML; SHORT_NAMES
    are short for some of them. With `MARKBOOK_PORT` a `rlaif.scoring_url` that is not set otherwise
    gets that port too. An empty variable is ignored. With `old_names` the file may be one that an
    earlier version wrote. Raises ConfigError with every fault found, one per line; a variable that
    sets nothing is one.
    """
    named = path or environ.get("MARKBOOK_CONFIG")
    file = Path(named) if named else Path("config.yaml")
    data: Any = {}
    if named or file.exists():
        try:
            data = load_yaml(file.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{file} is not valid YAML: {' '.join(str(error).split())}"
            ) from error
        if not isinstance(data, dict):
            raise ConfigError(
                f"{file} must hold sections ({', '.join(Config.model_fields)}), not {_show(data)}"
            )
    data = under_new_names(data) if old_names else data
    variables = own_variables(environ)
    if unknown := list(unknown_variables(variables, known_keys())):
        raise ConfigError("\n".join(unknown))
    overrides = list(_overrides(variables))
    for _, keys, value in overrides:
        data = _with(data, keys, value)
    names = ", ".join(variable for variable, _, _ in overrides)
    config = parse_config(data, f"{file} with {names}" if names else str(file))
    return _asked_where_it_listens(config) if "MARKBOOK_PORT" in variables else config


def _overrides(variables: Mapping[str, str]) -> Iterator[tuple[str, Sequence[str], Any]]:
    for variable, value in variables.items():
        if variable in SHORT_NAMES:
            keys: Sequence[str] = SHORT_NAMES[variable]
        elif "__" in variable:
            keys = variable.removeprefix(PREFIX).lower().split("__")
        else:
            continue
        as_written = (
            keys in _AS_WRITTEN or ".".join(keys) == _SECRET
        )  # an error in YAML would quote it
        yield variable, keys, value if as_written else _read(variable, value)


_AS_WRITTEN = (
    ("teacher", "name"),
    ("teacher", "model"),
    ("store", "database_url"),
    ("rlaif", "scoring_url"),
)
"""Text under a short name, which needs no quotes."""
_SECRET = "alerts.webhook_url"
"""No message quotes its value."""


def _read(variable: str, value: str) -> Any:
    try:
        return load_yaml(value)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"{variable} is not valid YAML: {' '.join(str(error).split())}"
        ) from error


def _asked_where_it_listens(config: Config) -> Config:
    """`config` for clients on the machine whose service `MARKBOOK_PORT` has moved to another
    port.
    """
    if (
        config.rlaif.scoring_url != Rlaif.model_fields["scoring_url"].default
        or config.service.port == 0
    ):
        return config
    rlaif = config.rlaif.model_copy(
        update={"scoring_url": f"http://127.0.0.1:{config.service.port}"}
    )
    return config.model_copy(update={"rlaif": rlaif})


def _with(data: Any, keys: Sequence[str], value: Any) -> Any:
    """`data` with `value` under `keys`; what is no section on the way becomes one."""
    if not keys:
        return value
    section = data if isinstance(data, dict) else {}
    return {**section, keys[0]: _with(section.get(keys[0]), keys[1:], value)}


def parse_config(data: Mapping[Any, Any], origin: str = "configuration") -> Config:
    """Validate `data`; every error names the key, the value, what was expected and the nearest
    known key.
    """
    # `training:` with nothing under it is an empty section, not a wrong type
    sections = {
        key: {} if value is None and key in Config.model_fields else value
        for key, value in data.items()
    }
    try:
        return Config.model_validate(sections)
    except ValidationError as error:
        lines = [_explain(dict(item)) for item in error.errors()]
        raise ConfigError("\n".join(f"{origin}: {line}" for line in lines)) from error


def known_keys() -> Iterator[str]:
    """Every `section.key`, in the order of the file."""
    for section, field in Config.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        yield from (f"{section}.{key}" for key in model.model_fields)


def _explain(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        # not its value: under a mistyped name it may be a secret
        return f"unknown key {key}{_nearest(key)}"
    expected: str = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if error["type"] == "model_type":
        expected = "a section of keys"
    if not key:  # of several sections together
        return expected
    if key == _SECRET:
        return f"{key} is wrong, expected {expected}"
    return f"{key} is {_show(error['input'])}, expected {expected}"


def _nearest(key: str) -> str:
    known = [*known_keys(), *Config.model_fields]
    section, _, name = key.rpartition(".")
    if name in RENAMED and f"{section}.{RENAMED[name]}" in known:
        return f": it is called {section}.{RENAMED[name]} now"
    for candidate in known:  # right name, wrong section
        if "." in key and candidate.rsplit(".", 1)[-1] == name:
            return f"; did you mean {candidate}?"
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return (
        f"; did you mean {found[0]}?"
        if found
        else f"; known here: {', '.join(_siblings(key, known))}"
    )


def _siblings(key: str, known: list[str]) -> list[str]:
    section = key.split(".", 1)[0]
    here = [
        candidate.split(".", 1)[1] for candidate in known if candidate.startswith(f"{section}.")
    ]
    return here or list(Config.model_fields)


def without_secrets(config: Config) -> dict[str, Any]:
    """The configuration in JSON's types, to be written down where others may read it: a run needs
    no database URL and no webhook.
    """
    return config.model_dump(
        mode="json", exclude={"store": {"database_url"}, "alerts": {"webhook_url"}}
    )


def _show(value: object) -> str:
    text = hide_secrets(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."
