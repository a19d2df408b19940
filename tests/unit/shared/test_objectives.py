"""rlaif.objective: what each name sets, what overrides it, and what a run's own configuration
then holds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from markbook.config import strict_yaml
from markbook.config.loading import ConfigError, load_config, parse_config, without_secrets
from markbook.config.settings import Config, Rlaif
from markbook.config.settings.objectives import OBJECTIVE_KEYS, OBJECTIVES, overridden_options

# what differs from the default, which is REINFORCE with whitening over the batch
DIFFERENCES = {
    "reinforce": {},
    "grpo": {"whiten_over": "group", "loss": "ppo_clip", "loss_agg_mode": "sequence"},
    "dr_grpo": {
        "whiten_over": "group", "loss": "ppo_clip", "whiten_advantages": False,
        "loss_agg_mode": "constant",
        "use_frozen_reference_for_kl": False,
    },
    "dapo": {
        "whiten_over": "group", "loss": "ppo_clip", "clip_range_high": 0.28, "mask_truncated": True,
        "use_frozen_reference_for_kl": False,
    },
    "gspo": {
        "whiten_over": "group", "loss": "ppo_clip", "loss_agg_mode": "sequence", "clip_range": 3e-4,
        "clip_range_high": 4e-4, "importance_sampling_level": "sequence",
        "use_frozen_reference_for_kl": False,
    },
    "cispo": {
        "whiten_over": "group", "importance_sampling_cap": 5.0,
        "use_frozen_reference_for_kl": False,
    },
    "rloo": {
        "advantage_baseline": "leave_one_out", "whiten_advantages": False,
        "loss_agg_mode": "sequence_sum",
        "kl_estimator": "k1", "kl_in": "reward",
    },
}  # fmt: skip


def changed(rlaif: Rlaif) -> dict[str, object]:
    default = Rlaif().model_dump()
    return {
        key: value
        for key, value in rlaif.model_dump().items()
        if value != default[key] and key != "objective"
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_name_sets_the_options_it_stands_for_and_no_others(name):
    assert changed(Rlaif(objective=name)) == DIFFERENCES[name]
    assert set(DIFFERENCES[name]) <= set(OBJECTIVE_KEYS)


def test_the_defaults_of_the_keys_are_those_of_the_default_objective():
    stated = {key: Rlaif.model_fields[key].default for key in OBJECTIVE_KEYS}
    assert stated == {key: Rlaif().model_dump()[key] for key in OBJECTIVE_KEYS}
    assert Rlaif(objective="reinforce") == Rlaif()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_key_that_is_set_wins_and_one_that_is_null_does_not(name):
    explicit = {
        "loss": "reinforce",
        "mask_truncated": False,
        "kl_in": "loss",
        "clip_range_high": 0.5,
    }
    rlaif = parse_config({"rlaif": {"objective": name, **explicit, "loss_agg_mode": None}}).rlaif
    assert {key: getattr(rlaif, key) for key in explicit} == explicit
    assert rlaif.loss_agg_mode == Rlaif(objective=name).loss_agg_mode


@pytest.mark.parametrize(
    ("keys", "low", "high"),
    [
        ({"objective": "grpo", "clip_range": 0.1}, 0.1, 0.1),
        ({"objective": "grpo", "clip_range": 1}, 1, 1),
        ({"objective": "grpo", "clip_range_high": 0.3}, 0.2, 0.3),
        ({"objective": "dapo", "clip_range": 0.1}, 0.1, 0.28),
        ({"clip_range": 0.1, "clip_range_high": None}, 0.1, 0.1),
    ],
)
def test_upwards_the_clip_is_as_wide_as_downwards_where_nothing_else_is_said(keys, low, high):
    rlaif = parse_config({"rlaif": keys}).rlaif
    assert (rlaif.clip_range, rlaif.clip_range_high) == (low, high)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_configuration_of_a_run_shows_the_options_and_reads_back_the_same(tmp_path, name):
    config = parse_config({"rlaif": {"objective": name, "clip_range": 0.15, "kl_estimator": None}})
    saved = without_secrets(config)
    assert {key: saved["rlaif"][key] for key in OBJECTIVE_KEYS} == {
        key: getattr(config.rlaif, key) for key in OBJECTIVE_KEYS
    }
    assert None not in [saved["rlaif"][key] for key in OBJECTIVE_KEYS]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert load_config(tmp_path / "config.yaml", {}).rlaif == config.rlaif


def test_what_overrides_an_objective_is_known():
    rlaif = Rlaif(objective="dapo", mask_truncated=False, clip_range=0.2)
    assert overridden_options(rlaif.model_dump()) == {"mask_truncated": (False, True)}
    assert overridden_options(Rlaif(objective="rloo").model_dump()) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"rlaif": {"objective": "ppo"}},
            "rlaif.objective is 'ppo', expected 'grpo', 'dr_grpo', 'dapo', 'gspo'",
        ),
        ({"rlaif": {"objective": None, "loss": None}}, "rlaif.objective is None, expected 'grpo'"),
        ({"rlaif": {"objective": ["grpo"]}}, "rlaif.objective is ['grpo'], expected 'grpo'"),
        ({"rlaif": {"loss": "ppo"}}, "rlaif.loss is 'ppo', expected 'reinforce' or 'ppo_clip'"),
        ({"rlaif": {"clip_range": "wide"}}, "rlaif.clip_range is 'wide', expected a valid number"),
        (
            {"rlaif": {"updates_per_batch": 3, "epochs_per_batch": 2}},
            "rlaif.epochs_per_batch is 2, expected a divisor of rlaif.updates_per_batch (3)",
        ),
        (
            {
                "training": {"prompts_per_step": 3},
                "rlaif": {"updates_per_batch": 8, "epochs_per_batch": 2},
            },
            "rlaif.updates_per_batch / rlaif.epochs_per_batch is 4, expected at most "
            "training.prompts_per_step (3)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(data, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "my.yaml")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"my.yaml: {message}")


def test_a_group_per_minibatch_is_enough():
    data = {
        "training": {"prompts_per_step": 4},
        "rlaif": {"updates_per_batch": 8, "epochs_per_batch": 2},
    }
    assert Config.model_validate(data).rlaif.updates_per_batch == 8


def test_the_table_of_the_documents_is_the_one_of_the_code():
    """An empty cell is an option without effect there."""
    text = (Path(__file__).parents[3] / "docs" / "trainer.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    [head] = [row for row in rows if "`grpo`" in row]
    names = [cell.split("`")[1] for cell in head[1:]]
    assert sorted(names) == sorted(OBJECTIVES)
    shown = set()
    for row in rows[rows.index(head) + 2 :]:
        keys = row[0].replace("`", "").split(", ")
        if len(row) != len(head):
            break
        shown.update(keys)
        for name, cell in zip(names, row[1:], strict=True):
            if cell:
                values = [getattr(Rlaif(objective=name), key) for key in keys]
                assert [strict_yaml.load_yaml(part) for part in cell.split(", ")] == values, (
                    name,
                    keys,
                )
    assert shown == set(OBJECTIVE_KEYS)
