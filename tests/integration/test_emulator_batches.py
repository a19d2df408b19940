"""The emulator's batches, asked by the official SDK: limits, states, order, expiry, prices."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.emulator import faults
from tests.emulator.catalog import MODELS
from tests.emulator.server import Emulator
from tests.integration.test_emulator import body

DAY_S = 86_400.0


@pytest.fixture
def batches(emulator: Emulator):
    emulator.settings.batch_s = 60.0
    with anthropic.Anthropic(api_key="key", base_url=emulator.url, max_retries=0) as client:
        yield client.messages.batches


def requests(count: int, **changes: Any) -> list[Any]:
    return [{"custom_id": f"id-{number}", "params": body(**changes)} for number in range(count)]


def kinds(batches, batch) -> list[tuple[str, str]]:
    return [(line.custom_id, line.result.type) for line in batches.results(batch)]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "1 to 100000"),
        ([{"custom_id": "a b", "params": {}}], "custom_id"),
        ([{"custom_id": "a" * 65, "params": {}}], "custom_id"),
        ([{"custom_id": "", "params": {}}], "custom_id"),
        ([{"custom_id": "a", "params": {}}, {"custom_id": "a", "params": {}}], "not unique"),
        ([{"custom_id": "a"}], "params are required"),
        ([{"custom_id": f"a{number}", "params": {}} for number in range(100_001)], "1 to 100000"),
    ],
)
def test_a_batch_is_refused_as_a_whole_for_its_form_only(asked, says, batches, emulator):
    with pytest.raises(anthropic.BadRequestError, match=says):
        batches.create(requests=asked)
    assert emulator.batches.all() == []


def test_it_is_in_progress_until_all_of_it_has_ended(batches, emulator):
    batch = batches.create(requests=requests(5))
    assert (batch.processing_status, batch.results_url, batch.request_counts.processing) == (
        "in_progress",
        None,
        5,
    )
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        batches.delete(batch.id)
    emulator.skipped_s += 59.9
    assert batches.retrieve(batch.id).processing_status == "in_progress"
    emulator.skipped_s += 0.1
    done = batches.retrieve(batch.id)
    assert (
        done.processing_status,
        done.request_counts.succeeded,
        done.request_counts.processing,
    ) == ("ended", 5, 0)
    found = kinds(batches, batch.id)
    assert sorted(found) == [(f"id-{number}", "succeeded") for number in range(5)]
    assert found != sorted(found)
    first = next(iter(batches.results(batch.id))).result.message
    assert first.usage.service_tier == "batch"


def test_params_are_checked_when_they_are_processed(batches, emulator):
    asked = [*requests(1), {"custom_id": "bad", "params": body(temperature=0.5)}]
    asked.append({"custom_id": "stream", "params": {**body(), "stream": True}})
    asked.append({"custom_id": "warm", "params": body(max_tokens=0)})
    batch = batches.create(requests=asked)
    emulator.batches.finish()
    found = {line.custom_id: line.result for line in batches.results(batch.id)}
    assert found["id-0"].type == "succeeded"
    said = {name: found[name].error.error.message for name in ("bad", "stream", "warm")}
    assert "temperature" in said["bad"]
    assert "stream" in said["stream"]
    assert "max_tokens" in said["warm"]


def test_errors_expiry_and_cancelling_are_results_and_cost_nothing(batches, emulator):
    emulator.settings.batch_faults = faults.script(
        None, "errored", "expired", "canceled", "invalid"
    )
    batch = batches.create(requests=requests(5))
    emulator.batches.finish()
    assert dict(kinds(batches, batch.id)) == {
        "id-0": "succeeded", "id-1": "errored", "id-2": "expired", "id-3": "canceled",
        "id-4": "errored",
    }  # fmt: skip
    assert [entry.custom_id for entry in emulator.log] == ["id-0"]
    [entry] = emulator.log
    assert entry.dollars() == entry.bill.dollars(MODELS["claude-haiku-5-5"]) / 2


def test_what_is_not_processed_within_a_day_expires(batches, emulator):
    emulator.settings.batch_s = 2 * DAY_S
    batch = batches.create(requests=requests(2))
    emulator.skipped_s += DAY_S
    assert [kind for _, kind in kinds(batches, batch.id)] == ["expired"] * 2


def test_a_cancelled_batch_ends(batches):
    batch = batches.create(requests=requests(2))
    assert batches.cancel(batch.id).processing_status == "canceling"
    assert batches.retrieve(batch.id).processing_status == "ended"
    assert [kind for _, kind in kinds(batches, batch.id)] == ["canceled"] * 2


def test_results_are_kept_for_29_days(batches, emulator):
    batch = batches.create(requests=requests(1))
    emulator.batches.finish()
    emulator.skipped_s += 29 * DAY_S
    assert batches.retrieve(batch.id).results_url is not None
    emulator.skipped_s += 1
    assert batches.retrieve(batch.id).results_url is None


def test_the_list_has_the_newest_first_page_by_page(batches):
    made = [batches.create(requests=requests(1)).id for _ in range(5)]
    assert [batch.id for batch in batches.list(limit=2)] == made[::-1]
