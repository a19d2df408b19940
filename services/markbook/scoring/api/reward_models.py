"""What other trainers send and get: the bodies of `POST /get_reward` (OpenRLHF) and `POST
/verify` (NeMo Gym).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field
from typing_extensions import TypeAliasType

from markbook.contract import Language, RunName, Scored, Test

Text = Annotated[str, Field(min_length=1)]
_TESTS = (
    "Statements in Python, each one test: it is run after the code, and passes unless it raises."
)
_TEST_SETUP = "Statements before each test: imports, helpers, data."


class _Lenient(BaseModel):
    """What others send may hold more than is read here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Hints(_Lenient):
    """Fields that a JSON object in `labels` may have."""

    prompt: Text | None = None
    language: Language | None = None
    tests: list[Test] = Field(default_factory=list)
    test_setup: str = ""


class RewardRequest(_Lenient):
    """OpenRLHF's request. The three lists have one entry per sample."""

    query: Annotated[list[str], FailFast()] = Field(
        description="Prompt and completion as one text, special tokens included."
    )
    prompts: Annotated[list[Text], FailFast()] = Field(
        description="As in `query`, chat template included."
    )
    labels: list[Any] | None = Field(
        default=None,
        description="`{prompt, language, tests, test_setup}` as JSON. Others are not read.",
    )


class RewardResponse(BaseModel):
    """OpenRLHF's response: a number for every sample, or none of them."""

    rewards: list[float] = Field(description="One mark per sample, in the order of `query`.")
    scores: list[float] = Field(description="The same again, where OpenRLHF reads what it logs.")
    extra_logs: dict[str, list[float]] = Field(
        description="Per sample, 1.0 or 0.0: `markbook_cached` and `markbook_heuristic`."
    )


class ContentPart(_Lenient):
    """A part of a message's content."""

    type: str | None = Field(default=None, description="`input_text`, `output_text`, …; not read.")
    text: str | None = Field(default=None, description="The part's text; null for what is no text.")


ContentParts = TypeAliasType("ContentParts", Annotated[list[ContentPart], FailFast()])


class ResponsesItem(_Lenient):
    """An item of the Responses API; those that are no messages have neither role nor content
    that is read.
    """

    type: str | None = Field(
        default="message", description="`message`; items of other types are skipped."
    )
    role: str | None = Field(
        default=None, description="`user`, `assistant`, …: who wrote the message."
    )
    content: str | ContentParts | None = Field(
        default=None, description="The message's text, whole or in parts."
    )


ResponsesItems = TypeAliasType("ResponsesItems", Annotated[list[ResponsesItem], FailFast()])


class CreateParams(_Lenient):
    """What the model was asked."""

    input: str | ResponsesItems = Field(
        description="The conversation: the text of its user messages is the task."
    )


class ModelResponse(_Lenient):
    """What the model answered."""

    output: ResponsesItems = Field(
        description="The text of its assistant messages is the completion."
    )


class VerifierMetadata(_Lenient):
    """Fields that a row of the dataset may have."""

    language: Language | None = Field(
        default=None, description="The sample's language; goes before the query's."
    )
    run: RunName | None = Field(
        default=None, description="The run it is counted for; goes before the query's."
    )
    tests: list[Test] = Field(default_factory=list, description=_TESTS)
    test_setup: str = Field(default="", description=_TEST_SETUP)


class VerifyRequest(_Lenient):
    """NeMo Gym's request: a row of the dataset with the model's response."""

    responses_create_params: CreateParams = Field(description="What the model was asked.")
    response: ModelResponse = Field(description="What the model answered.")
    verifier_metadata: VerifierMetadata | None = Field(
        default=None, description="Fields of the row that override the URL's."
    )


class VerifyResponse(BaseModel):
    """The request's own fields, and these."""

    model_config = ConfigDict(extra="allow")

    reward: float = Field(description="The mark, in [0, 1].")
    markbook: Scored = Field(description="The whole result: source, criteria, reasons.")
