"""A generation server: the OpenAI completions API as vLLM speaks it, with adapters that are loaded
while it runs.

Asked for: the prompt as token ids, a seed a sample, and the ids that were drawn
(`return_token_ids`, vLLM 0.10.2 and later) with their log-probabilities, so that nothing is
tokenized a second time. Answers are streamed: a sample that has come to its end is not written any
further. Source: https://docs.vllm.ai, "OpenAI-Compatible Server" and "LoRA Adapters". Run with vLLM
0.32.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from markbook.client import ServiceUnavailableError, bearer
from markbook.config.loading import ConfigError
from markbook.retryable_statuses import is_worth_another_try

KEY_VARIABLE = "MARKBOOK_GENERATION_KEY"
LOAD = "/v1/load_lora_adapter"
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0
"""Seconds without a new token after which a sample is asked for again."""


class AdapterLostError(ServiceUnavailableError):
    """The server is there, but knows no model of this name: it was restarted."""


class AdapterNotLoadedError(ServiceUnavailableError):
    """The server failed as it loaded an adapter."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole sample: its tokens, their log-probabilities, and whether it was cut off by length."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    truncated: bool


class _LogProbs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int]
    logprobs: _LogProbs | None = None
    finish_reason: str | None = None


class _Error(BaseModel):
    message: str


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    error: _Error | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


class VllmClient:
    """For one event loop. Its methods make one attempt each.

    They raise ServiceUnavailableError where another attempt may help, and ConfigError where none
    will.
    """

    def __init__(self, url: str, key: str | None, connections: int) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._loading = asyncio.Lock()
        self._http = httpx.AsyncClient(
            base_url=self._url,
            trust_env=False,  # it is a neighbour: no proxy stands before it
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx.Limits(max_connections=connections),
            headers=bearer(key, KEY_VARIABLE),
        )

    async def models(self) -> list[str]:
        response = await self._ask("GET", "/v1/models")
        try:
            return [model.id for model in _Models.model_validate_json(response.content).data]
        except ValidationError as error:
            raise ConfigError(
                f"{self._url} is no generation server: it lists no models at /v1/models"
            ) from error

    async def load(self, name: str, folder: Path) -> None:
        """Serve the adapter in `folder`, an absolute path, as `name`, unless it is served
        already.
        """
        async with self._loading:
            if name not in await self.models():
                body = {"lora_name": name, "lora_path": str(folder)}
                try:
                    await self._load(body)
                except ConfigError as error:
                    raise ConfigError(
                        f"{error}; vLLM loads adapters when it is started with --enable-lora "
                        "--max-lora-rank (at least training.lora_r) and "
                        "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, from a folder that it sees too"
                    ) from error

    async def _load(self, body: dict[str, str]) -> None:
        """vLLM returns 500 both for an adapter that does not fit and for a dead engine; /health
        distinguishes them.
        """
        try:
            await self._ask("POST", LOAD, json=body)
        except AdapterNotLoadedError as error:
            await self._ask("GET", "/health")
            raise ConfigError(str(error)) from error

    async def unload(self, prefix: str) -> None:
        """Serve no adapter any more whose name begins so."""
        for name in await self.models():
            if name.startswith(prefix):
                await self._ask("POST", "/v1/unload_lora_adapter", json={"lora_name": name})

    async def sleep(self) -> None:
        """Give up the GPU's memory: weights move to the CPU, the key-value cache is dropped
        (`--enable-sleep-mode`).
        """
        await self._ask("POST", "/sleep", params={"level": 1})

    async def wake_up(self) -> None:
        await self._ask("POST", "/wake_up")

    async def complete(
        self, request: dict[str, Any], ended: Callable[[list[int]], bool]
    ) -> Completion:
        """One sample, to the first token at which `ended` is true, or to where the server ends
        it.
        """
        ids: list[int] = []
        log_probs: list[float] = []
        async with aclosing(self._stream(request)) as choices:
            async for choice in choices:
                for token, log_prob in self._tokens(choice):
                    ids.append(token)
                    log_probs.append(log_prob)
                    if ended(ids):
                        return Completion(tuple(ids), tuple(log_probs), truncated=False)
                if ids and choice.finish_reason in ("stop", "length"):
                    return Completion(
                        tuple(ids), tuple(log_probs), truncated=choice.finish_reason == "length"
                    )
        raise ServiceUnavailableError(f"the generation server at {self._url} ended a sample early")

    async def close(self) -> None:
        await self._http.aclose()

    async def _stream(self, request: dict[str, Any]) -> AsyncGenerator[_Choice, None]:
        body = {**request, "n": 1, "logprobs": 1, "return_token_ids": True, "stream": True}
        try:
            async with self._http.stream("POST", "/v1/completions", json=body) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._failure(response)
                async for line in response.aiter_lines():
                    if line.startswith("data:") and not line.endswith("[DONE]"):
                        for choice in self._choices(line.removeprefix("data:")):
                            yield choice
        except httpx.RequestError as error:
            raise self._away(error) from error

    def _choices(self, data: str) -> list[_Choice]:
        try:
            chunk = _Chunk.model_validate_json(data)
        except ValidationError as error:
            raise self._no_ids() from error
        if chunk.error:
            raise ServiceUnavailableError(
                f"the generation server at {self._url} failed: {chunk.error.message}"
            )
        return chunk.choices

    def _tokens(self, choice: _Choice) -> list[tuple[int, float]]:
        log_probs = choice.logprobs.token_logprobs if choice.logprobs else []
        if len(log_probs) != len(choice.token_ids):
            raise self._no_ids()
        return list(zip(choice.token_ids, log_probs, strict=True))

    def _no_ids(self) -> ConfigError:
        return ConfigError(
            f"the generation server at {self._url} answers without token ids and their "
            "log-probabilities (return_token_ids, logprobs): it has to be vLLM 0.10.2 or later, "
            "or speak as it does"
        )

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **more)
        except httpx.RequestError as error:
            raise self._away(error) from error
        if not response.is_success:
            raise self._failure(response)
        return response

    def _away(self, error: httpx.RequestError) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"the generation server at {self._url} did not answer: "
            f"{str(error) or type(error).__name__}"
        )

    def _failure(self, response: httpx.Response) -> ServiceUnavailableError | ConfigError:
        path, status = response.request.url.path, response.status_code
        said = " ".join(response.text.split())[:300]
        message = f"the generation server at {self._url} answered {path} with HTTP {status}: {said}"
        if status == 404 and path == "/v1/completions":
            return AdapterLostError(message)
        if status == 500 and path == LOAD:
            return AdapterNotLoadedError(message)
        if is_worth_another_try(status):
            return ServiceUnavailableError(message)
        if status in (401, 403):
            return ConfigError(f"{message}; MARKBOOK_GENERATION_KEY holds its key")
        return ConfigError(message)
