"""The `MARKBOOK_` variables of the environment: which there are, and what an unknown one was
meant to be.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

PREFIX = "MARKBOOK_"

SHORT_NAMES = {
    "MARKBOOK_TEACHER": ("teacher", "name"),
    "MARKBOOK_TEACHER_MODEL": ("teacher", "model"),
    "MARKBOOK_DATABASE_URL": ("store", "database_url"),
    "MARKBOOK_PORT": ("service", "port"),
    "MARKBOOK_URL": ("rlaif", "scoring_url"),  # markbook.client reads it as well
}
"""Short for `MARKBOOK_SECTION__KEY`, which wins where both are set."""

OTHERS = (
    "MARKBOOK_CONFIG",
    "MARKBOOK_API_KEY",  # markbook.client's
    "MARKBOOK_GENERATION_KEY",
    # this and the next are docker-compose.yml's, whose .env the containers get
    "MARKBOOK_BALANCER_PORT",
    "MARKBOOK_TORCH_INDEX",
    "MARKBOOK_TEST_DATABASE_URL",  # of the tests and the benchmarks
)
"""Variables that set no key of the file."""

_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)
_OF_A_SERVICE = re.compile(
    r"SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def own_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What in `environ` is meant for Markbook, by name.

    Empty variables and those that Kubernetes sets are left out.

    For a Service named markbook, or markbook-NAME, Kubernetes puts MARKBOOK_SERVICE_HOST,
    MARKBOOK_SERVICE_PORT, MARKBOOK_PORT=tcp://… and more into every container. MARKBOOK_PORT as a
    number is a user's.
    """
    found = {
        name: value for name, value in environ.items() if name.upper().startswith(PREFIX) and value
    }
    services = [
        name.removesuffix("SERVICE_HOST")
        for name in found
        if name.endswith("_SERVICE_HOST") and name.removesuffix("HOST") + "PORT" in found
    ]

    def is_of_a_service(name: str) -> bool:
        return any(
            name.startswith(each) and _OF_A_SERVICE.fullmatch(name.removeprefix(each))
            for each in services
        )

    return {
        name: value
        for name, value in sorted(found.items())
        if not (_ADDRESS.match(value) and name.endswith("_PORT"))
        and (name in SHORT_NAMES or not is_of_a_service(name))
    }


def unknown_variables(variables: Iterable[str], keys: Iterable[str]) -> Iterator[str]:
    """A line for each that sets nothing. `keys`: every `section.key`; what has two underscores is
    held against the file by the reader.
    """
    long_names = [variable_name(key) for key in keys]
    for name in variables:
        if name in SHORT_NAMES or name in OTHERS or (name.startswith(PREFIX) and "__" in name):
            continue
        yield f"{name} sets nothing{_meant(name, long_names)}"


def variable_name(key: str) -> str:
    """The variable that sets `section.key`."""
    return PREFIX + key.replace(".", "__").upper()


def _meant(name: str, long_names: Sequence[str]) -> str:
    asked = name.upper()
    for each in long_names:  # one underscore where two belong
        if each.replace("__", "_") == asked.replace("__", "_"):
            return f": did you mean {each}?"
    # without the prefix, in which all are alike
    known = [each.removeprefix(PREFIX) for each in (*SHORT_NAMES, *OTHERS, *long_names)]
    found = difflib.get_close_matches(asked.removeprefix(PREFIX)[:100], known, n=1)
    return (
        f": did you mean {PREFIX}{found[0]}?"
        if found
        else "; MARKBOOK_SECTION__KEY sets a key of config.yaml"
    )
