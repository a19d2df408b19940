"""What the real API refuses: an unknown field, a removed parameter, a prefill, a schema it
cannot follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tests.emulator.catalog import MODELS, Model
from tests.emulator.errors import ApiError, invalid

VERSIONS = ("2023-06-01", "2026-10-21")
MAX_BREAKPOINTS = 4
UNSUPPORTED_KEYWORDS = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems",
    "maxItems", "uniqueItems", "patternProperties", "oneOf", "not", "if",
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CacheControl(_Strict):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class TextBlock(_Strict):
    type: Literal["text"]
    text: Annotated[str, Field(min_length=1)]
    cache_control: CacheControl | None = None


class Turn(_Strict):
    role: Literal["user", "assistant"]
    content: str | list[TextBlock]


class Format(_Strict):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(_Strict):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class Thinking(_Strict):
    type: Literal["disabled", "enabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class Request(_Strict):
    """The part of the Messages API that has to do with text.

    Tools, images and streaming are not emulated.
    """

    model: str
    max_tokens: Annotated[int, Field(ge=0)]
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    metadata: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"
    stop_sequences: list[str] | None = None
    thinking: Thinking | None = None


def check_headers(headers: Mapping[str, str]) -> None:
    """The order is the provider's: who is asking, then in which version."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not bearer and not headers.get("x-api-key"):
        raise ApiError("authentication_error", "Authentication is required")
    version = headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f"anthropic-version: {version!r} is not a valid version")


def check_body(body: Any) -> tuple[Request, Model]:
    """A valid request and its model. Raises ApiError."""
    if not isinstance(body, dict):
        raise invalid("The request body is not a JSON object")
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            raise invalid(f"{name}: sampling parameters are not supported")
    try:
        request = Request.model_validate(body)
    except ValidationError as error:
        deepest = max(error.errors(), key=lambda each: len(each["loc"]))
        raise invalid(f"{'.'.join(map(str, deepest['loc']))}: {deepest['msg']}") from None
    model = MODELS.get(request.model)
    if model is None:
        raise ApiError("not_found_error", f"model: {request.model}")
    if request.messages[-1].role != "user":
        raise invalid(
            "messages: this model does not support prefill: the last message must be the user's"
        )
    _check_thinking(request, model)
    _check_breakpoints(request)
    if request.output_config and request.output_config.effort and not model.efforts:
        raise invalid(f"output_config.effort: not supported by {request.model}")
    if request.output_config and request.output_config.format:
        _check_schema(request.output_config.format.schema_, "output_config.format.schema")
    return request, model


def _check_thinking(request: Request, model: Model) -> None:
    thinking = request.thinking
    if thinking is None:
        return
    if thinking.type not in model.thinking:
        raise invalid(f'"thinking.type.{thinking.type}" is not supported for this model')
    effort = request.output_config.effort if request.output_config else None
    if thinking.type == "disabled" and effort in ("xhigh", "max"):
        raise invalid(f"thinking cannot be disabled at effort {effort}")
    if (
        thinking.type == "enabled"
        and not 1024 <= (thinking.budget_tokens or 0) < request.max_tokens
    ):
        raise invalid("thinking.budget_tokens: must be at least 1024 and less than max_tokens")


def _check_breakpoints(request: Request) -> None:
    held = [block.cache_control for block in blocks(request) if block.cache_control]
    if len(held) > MAX_BREAKPOINTS:
        raise invalid(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found "
            f"{len(held)}."
        )
    lives = [control.ttl for control in held]
    if lives != sorted(lives):  # "1h" sorts before "5m"
        raise invalid("cache_control: a block with ttl 1h must not come after one with ttl 5m")


def _check_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        raise invalid(f"{where}: must be an object")
    if "$ref" in schema or "$recursiveRef" in schema:
        raise invalid(f"{where}: references are not supported")
    if bad := UNSUPPORTED_KEYWORDS & schema.keys():
        raise invalid(
            f"{where}: For type '{schema.get('type')}', property '{min(bad)}' is not supported"
        )
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise invalid(
                f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to "
                "false"
            )
        for name, inner in schema.get("properties", {}).items():
            _check_schema(inner, f"{where}.properties.{name}")
    if schema.get("type") == "array" and "items" in schema:
        _check_schema(schema["items"], f"{where}.items")


def blocks(request: Request) -> Iterator[TextBlock]:
    """All text in the order in which the prompt cache sees it: system, then messages."""
    for content in (request.system or [], *(turn.content for turn in request.messages)):
        if isinstance(content, str):
            yield TextBlock(type="text", text=content)
        else:
            yield from content
