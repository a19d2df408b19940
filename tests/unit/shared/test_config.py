"""The shared configuration: defaults, the file in the repository, and errors a user can act on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from markbook.config.environment import unknown_variables, variable_name
from markbook.config.loading import ConfigError, known_keys, load_config, parse_config
from markbook.config.renamed_keys import RENAMED
from markbook.config.settings import Config

ROOT = Path(__file__).parents[3]

USERS_DEFAULTS = {
    "training": {"learning_rate": 1e-4, "weight_decay": 0.0, "max_grad_norm": 1.0},
    "rlaif": {
        "reward_threshold": 0.0,
        "generation_temperature": 0.85,
        "num_samples_per_prompt": 4,
        "use_advantage_normalization": True,
        "use_frozen_reference_for_kl": True,
        "kl_penalty": 0.1,
        "use_tiered_scoring": True,
        "heuristic_score_threshold": 0.3,
        "truncate_prompt_for_scoring": True,
        "prompt_context_chars": 200,
        "move_rubric_to_system_prompt": True,
    },
}


def test_the_names_and_defaults_users_already_have():
    config = Config().model_dump()
    for section, values in USERS_DEFAULTS.items():
        for key, value in values.items():
            assert config[section][key] == value, f"{section}.{key}"


def test_the_file_in_the_repository_states_every_key_with_its_default():
    assert load_config(ROOT / "config.yaml", {}) == Config()
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert [f"{section}.{key}" for section, keys in written.items() for key in keys] == list(
        known_keys()
    )


def described(text):
    """The comment of every key, beside it or in the lines above it, by section.key."""
    section, above, found = "", [], {}
    for line in text.splitlines():
        if top := re.match(r"(\w+):", line):
            section, above = top[1], []
        elif comment := re.match(r"  # (.*)", line):
            above.append(comment[1])
        elif key := re.match(r"  (\w+):.*?(?:  # (.*))?$", line):
            found[f"{section}.{key[1]}"] = key[2] or " ".join(above)
            above = []
    return found


def test_the_file_describes_every_key_as_the_code_does():
    sections = {name: field.annotation.model_fields for name, field in Config.model_fields.items()}
    descriptions = {
        f"{name}.{key}": field.description
        for name, fields in sections.items()
        for key, field in fields.items()
    }
    assert described((ROOT / "config.yaml").read_text()) == descriptions


def test_a_comment_above_a_key_and_one_beside_it_are_its_description():
    text = "# all\na:\n  x: 1  # one\n  # two\n  # lines\n  y: 'a # b'\n"
    assert described(text) == {"a.x": "one", "a.y": "two lines"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"rlaif": {"kl_penalti": 0.1}},
            "unknown key rlaif.kl_penalti; did you mean rlaif.kl_penalty?",
        ),
        (
            {"training": {"kl_penalty": 0.2}},
            "unknown key training.kl_penalty; did you mean rlaif.kl_penalty?",
        ),
        (
            {"store": {"keep_texts": False}},
            "unknown key store.keep_texts: it is called store.store_samples now",
        ),
        ({"trainig": {}}, "unknown key trainig; did you mean training?"),
        (
            {"training": {"learning_rate": "fast"}},
            "training.learning_rate is 'fast', expected a valid number",
        ),
        (
            {"rlaif": {"use_tiered_scoring": "false"}},
            "rlaif.use_tiered_scoring is 'false', expected a valid boolean",
        ),
        (
            {"rlaif": {"use_tiered_scoring": 0}},
            "rlaif.use_tiered_scoring is 0, expected a valid boolean",
        ),
        (
            {"rlaif": {"prompt_context_chars": 0}},
            "rlaif.prompt_context_chars is 0, expected greater than 0",
        ),
        (
            {"rlaif": {"prompt_context_chars": 2.5}},
            "rlaif.prompt_context_chars is 2.5, expected a valid integer",
        ),
        (
            {"rlaif": {"heuristic_score_threshold": 1.01}},
            "is 1.01, expected less than or equal to 1",
        ),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate is nan, expected"),
        ({"service": []}, "service is [], expected a section of keys"),
        (
            {"teacher": {"name": "claude"}},
            "teacher.name is 'claude', expected 'static' or 'anthropic'",
        ),
    ],
)
def test_a_fault_names_key_value_expectation_and_nearest(data, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert message in str(caught.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_config({"rlaif": {"kl_penalti": 1, "kl_penalty": "x"}, "nonsense": 1})
    assert len(str(caught.value).splitlines()) == 3


def test_a_number_in_the_form_1e_4_is_a_number(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("training:\n  learning_rate: 3e-4\nrlaif:\n")
    assert load_config(file, {}).training.learning_rate == 3e-4


def test_the_environment_overrides_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("teacher: {name: static, model: a}\n")
    environ = {
        "MARKBOOK_CONFIG": str(file),
        "MARKBOOK_TEACHER": "anthropic",
        "MARKBOOK_TEACHER_MODEL": "b",
        "MARKBOOK_DATABASE_URL": "postgresql://db/markbook",
    }
    config = load_config(None, environ)
    assert (config.teacher.name, config.teacher.model) == ("anthropic", "b")
    assert config.store.database_url == "postgresql://db/markbook"


def test_compose_hands_on_what_is_said_of_the_teacher_and_nothing_else():
    """With a default of its own there, the file's teacher would never mark."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("scoring", "replica"):
        assert services[name]["environment"]["MARKBOOK_TEACHER"] == "${MARKBOOK_TEACHER:-}"


def test_a_wrong_variable_is_named():
    with pytest.raises(ConfigError, match=r"with MARKBOOK_TEACHER: teacher\.name is 'gpt'"):
        load_config(None, {"MARKBOOK_TEACHER": "gpt"})


def test_the_environment_reaches_every_key(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("service: {port: 9}\nteacher:\n")
    environ = {
        "MARKBOOK_CONFIG": str(file),
        "MARKBOOK_TEACHER": "anthropic",
        "MARKBOOK_SERVICE__ALLOW_UNAUTHENTICATED": "true",
        "MARKBOOK_TRAINING__LEARNING_RATE": "3e-4",
        "MARKBOOK_TRAINING__EVAL_TASKS": "null",
        "MARKBOOK_BUDGETS__TOTAL__USD": "5",
        "MARKBOOK_BUDGETS__RUNS": "{A: {tokens: 7}}",
        "MARKBOOK_RLAIF__RUN": "",
        "MARKBOOK_API_KEY": "mb_secret",
        "MARKBOOK_URL": "http://scores.invalid:80",
    }
    config = load_config(None, environ)
    assert config.service.allow_unauthenticated is True
    assert (config.service.port, config.teacher.name, config.training.learning_rate) == (
        9,
        "anthropic",
        3e-4,
    )
    assert config.training.eval_tasks is None
    assert config.budgets.total.usd == 5
    assert config.budgets.runs["A"].tokens == 7
    assert config.rlaif.run is None
    assert config.rlaif.scoring_url == "http://scores.invalid:80"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"MARKBOOK_SERVICE__PRT": "1"},
            "with MARKBOOK_SERVICE__PRT: unknown key service.prt; did you mean",
        ),
        (
            {"MARKBOOK_SERVICE__PORT": "many"},
            "with MARKBOOK_SERVICE__PORT: service.port is 'many', expected",
        ),
        (
            {"MARKBOOK_SERVICE__PORT__X": "1", "MARKBOOK_SERVICE__PORT": "1"},
            "service.port is {'x': 1}, expected",
        ),
        ({"MARKBOOK_SERVICE__PORT": "[1"}, "MARKBOOK_SERVICE__PORT is not valid YAML"),
        (
            {"MARKBOOK_TEACHER_NAME": "static"},
            "MARKBOOK_TEACHER_NAME sets nothing: did you mean MARKBOOK_TEACHER__NAME?",
        ),
        (
            {"MARKBOOK_TECHER": "anthropic"},
            "MARKBOOK_TECHER sets nothing: did you mean MARKBOOK_TEACHER?",
        ),
        (
            {"markbook_teacher": "anthropic"},
            "markbook_teacher sets nothing: did you mean MARKBOOK_TEACHER?",
        ),
        (
            {"MARKBOOK_APIKEY": "mb_x"},
            "MARKBOOK_APIKEY sets nothing: did you mean MARKBOOK_API_KEY?",
        ),
        (
            {"MARKBOOK_ZZZ": "1"},
            "MARKBOOK_ZZZ sets nothing; MARKBOOK_SECTION__KEY sets a key of config.yaml",
        ),
        # alone it is no Service's of Kubernetes, which sets its host, too
        (
            {"MARKBOOK_SERVICE_PORT": "80"},
            "MARKBOOK_SERVICE_PORT sets nothing: did you mean MARKBOOK_SERVICE__PORT?",
        ),
        ({"MARKBOOK_PORT": "many"}, "with MARKBOOK_PORT: service.port is 'many', expected"),
        ({"MARKBOOK_PORT": "65536"}, "with MARKBOOK_PORT: service.port is 65536, expected"),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(environ, message):
    with pytest.raises(ConfigError) as caught:
        load_config(None, environ)
    assert message in str(caught.value)


def test_every_variable_that_sets_nothing_is_named_and_no_secret_shown():
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"MARKBOOK_TECHER": "anthropic", "MARKBOOK_API_KEI": "mb_secret"})
    assert len(str(caught.value).splitlines()) == 2
    assert "mb_secret" not in str(caught.value)


def test_what_kubernetes_sets_for_services_of_these_names_is_not_markbooks():
    environ = {}
    for name in ("MARKBOOK", "MARKBOOK_SCORING"):
        environ |= {
            f"{name}_SERVICE_HOST": "10.0.0.7",
            f"{name}_SERVICE_PORT": "8000",
            f"{name}_SERVICE_PORT_HTTP": "8000",
            f"{name}_PORT": "tcp://10.0.0.7:8000",
            f"{name}_PORT_8000_TCP": "tcp://10.0.0.7:8000",
            f"{name}_PORT_8000_TCP_PROTO": "tcp",
            f"{name}_PORT_8000_TCP_PORT": "8000",
            f"{name}_PORT_8000_TCP_ADDR": "10.0.0.7",
        }
    assert load_config(ROOT / "config.yaml", environ) == Config()
    assert (
        load_config(ROOT / "config.yaml", environ | {"MARKBOOK_PORT": "9000"}).service.port == 9000
    )
    with pytest.raises(ConfigError, match=r"^MARKBOOK_TECHER sets nothing"):
        load_config(ROOT / "config.yaml", environ | {"MARKBOOK_TECHER": "anthropic"})


def test_the_short_name_of_the_port_moves_the_service_and_whoever_asks_it_here():
    moved = load_config(ROOT / "config.yaml", {"MARKBOOK_PORT": "9000"})
    assert (moved.service.port, moved.rlaif.scoring_url) == (9000, "http://127.0.0.1:9000")
    elsewhere = {"MARKBOOK_PORT": "9000", "MARKBOOK_RLAIF__SCORING_URL": "http://marks.example"}
    assert load_config(None, elsewhere).rlaif.scoring_url == "http://marks.example"
    assert (
        load_config(None, {"MARKBOOK_PORT": "9000", "MARKBOOK_SERVICE__PORT": "8000"}).service.port
        == 8000
    )


def test_every_variable_of_the_documents_and_of_compose_is_known():
    files = [
        ROOT / name
        for name in (
            "README.md",
            ".env.example",
            "docker-compose.yml",
            "Makefile",
            "CONTRIBUTING.md",
        )
    ]
    files += [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").glob("*.y*ml"),
        *(ROOT / "docs/examples").glob("*.py"),
    ]
    wrong = {
        "MARKBOOK_SECTION__KEY",
        "MARKBOOK_TEACHER_NAME",
    }  # a pattern, and an example of one that is refused
    named = {
        found
        for file in files
        for found in re.findall(r"MARKBOOK_[A-Z0-9_]*[A-Z0-9]", file.read_text())
    } - wrong
    assert len(named) > 10
    assert not list(unknown_variables(named, known_keys()))
    assert {name for name in named if "__" in name} <= {
        variable_name(key) for key in known_keys()
    } | {
        "MARKBOOK_BUDGETS__TOTAL__USD",
        "MARKBOOK_BUDGETS__PER_RUN__USD",
        "MARKBOOK_BUDGETS__RECURRING__USD",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!int x", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("a: [", "not valid YAML"),
        ("- 1", "must hold sections"),
        ("\x00", "not valid YAML"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file, {})
    assert len(str(caught.value).splitlines()) == 1


def test_a_runs_own_configuration_is_read_under_the_names_it_was_written_with(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "rlaif: {importance_cap: 3.0, max_unscored_share: 0.25}\nstore: {keep_texts: false}\n"
    )
    with pytest.raises(ConfigError, match=r"called rlaif\.importance_sampling_cap now"):
        load_config(file, {})
    config = load_config(file, {}, old_names=True)
    assert (config.rlaif.importance_sampling_cap, config.rlaif.max_unscored_fraction) == (3.0, 0.25)
    assert config.store.store_samples is False


def test_a_key_that_was_renamed_is_a_key_under_its_new_name():
    names = {key.rpartition(".")[2] for key in known_keys()}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names
