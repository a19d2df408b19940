"""Replies held to a JSON schema by a server that implements the provider's structured outputs."""

from __future__ import annotations

import pytest

from tests.emulator.fixtures import TeacherFactory
from tests.emulator.server import Emulator
from tests.fakes import asked
from tests.integration.test_anthropic_teacher import CODES, assert_true_marks, group


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5-5"])
async def test_held_to_a_schema_the_marks_are_the_same(
    claude: TeacherFactory, emulator: Emulator, model: str
) -> None:
    reply = await asked(claude(constrain="on", model=model), group())
    assert_true_marks(CODES, reply)
    [entry] = emulator.log
    assert entry.body["output_config"]["format"]["type"] == "json_schema"
    assert ("effort" in entry.body["output_config"]) == (model == "claude-opus-5-5")
