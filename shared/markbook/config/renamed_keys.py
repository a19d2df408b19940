"""Keys of the configuration that once had another name, each in the section in which it still is.

A run's own copy of its configuration is read under either name, so that the run can be resumed; in
a file that is written for today, the old name is an error that names the new one.
"""

from __future__ import annotations

from typing import Any

RENAMED = {
    "loss_mean": "loss_agg_mode",
    "importance_cap": "importance_sampling_cap",
    "max_unscored_share": "max_unscored_fraction",
    "max_identical_share": "max_identical_fraction",
    "max_ceiling_share": "max_ceiling_fraction",
    "max_memorized_share": "max_memorized_fraction",
    "keep_texts": "store_samples",
    "keep_texts_days": "sample_retention_days",
    "keep_lines_days": "ledger_retention_days",
    "stop_grace_s": "shutdown_grace_s",
    "allow_without_keys": "allow_unauthenticated",
    "max_waiting_requests": "max_queued_requests",
    "max_waiting_samples": "max_queued_samples",
}


def under_new_names(data: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration, with every key under the name that it has now."""
    return {
        section: _renamed(keys) if isinstance(keys, dict) else keys
        for section, keys in data.items()
    }


def _renamed(keys: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(key, key): value for key, value in keys.items()}
