"""A stand-in for vLLM's server: the part of its protocol that the trainer speaks, around a tiny
model on the CPU.

`python -m tests.generation_server FOLDER [PORT]` serves the model in FOLDER. It shares no code with
the trainer: adapters are read by PEFT from where they were put, and tokens are drawn one by one
with torch's own generator.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import peft
import torch
import transformers
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

BASE = "base"


class VllmClient:
    """`faults` are answered first, one a request for a sample: an HTTP status, or "broken" for a
    stream that ends in the middle. `processed`, `token_ids`: what vLLM says with --logprobs-mode
    processed_logprobs, and as of 0.10.2.
    """

    def __init__(
        self, model: Any, key: str | None = None, processed: bool = True, token_ids: bool = True
    ) -> None:
        self.base, self.key, self.processed, self.token_ids = model, key, processed, token_ids
        self.faults: list[int | str] = []
        self.load_faults: list[str] = []
        self.healthy = True
        self.adapters: dict[str, Any] = {}
        self.loaded: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.drawn = 0
        self.app = FastAPI(dependencies=[Depends(self._guard)])
        self.app.get("/health")(self.health)
        self.app.post("/sleep")(self.sleep)
        self.app.post("/wake_up")(self.wake_up)
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/load_lora_adapter")(self.load)
        self.app.post("/v1/unload_lora_adapter")(self.unload)
        self.app.post("/v1/completions")(self.completions)

    async def health(self) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def sleep(self, level: int) -> Response:
        self.calls.append(f"sleep {level}")
        return Response()

    async def wake_up(self) -> Response:
        self.calls.append("wake_up")
        return Response()

    async def models(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": name, "object": "model"} for name in (BASE, *self.adapters)],
        }

    async def load(self, body: dict[str, str]) -> Response:
        name = body["lora_name"]
        if self.load_faults:
            return error(500, self.load_faults.pop(0))
        if name in self.adapters:
            return error(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(body["lora_path"]).is_absolute():
            return error(
                404, f"Loading lora {name} failed: No adapter found for {body['lora_path']}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT reads a property that transformers has renamed
            self.adapters[name] = peft.PeftModel.from_pretrained(
                deepcopy(self.base), body["lora_path"]
            ).eval()
        self.loaded.append(name)
        self.calls.append("load")
        return Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, body: dict[str, str]) -> Response:
        if self.adapters.pop(body["lora_name"], None) is None:
            return error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        return Response("Success")

    async def completions(self, body: dict[str, Any]) -> Response:
        self.requests.append(body)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return error(fault, "the engine is dead")
        if body["model"] not in self.adapters:
            return error(404, f"The model `{body['model']}` does not exist.")
        return StreamingResponse(
            self._stream(body, fault == "broken"), media_type="text/event-stream"
        )

    async def _stream(self, body: dict[str, Any], broken: bool) -> AsyncIterator[str]:
        assert body["n"] == 1
        assert (body["top_p"], body["top_k"]) == (1.0, -1)
        model, ids = self.adapters[body["model"]], list(body["prompt"])
        generator = torch.Generator().manual_seed(body["seed"] % 2**63)
        for number in range(1, body["max_tokens"] + 1):
            await asyncio.sleep(0)  # where it is noticed that nobody listens any more
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            processed = (logits / body["temperature"]).log_softmax(-1)
            token = int(torch.multinomial(processed.exp(), 1, generator=generator))
            log_prob = float((processed if self.processed else logits.log_softmax(-1))[token])
            ids.append(token)
            self.drawn += 1
            stops = token in body["stop_token_ids"]
            finish = "stop" if stops else "length" if number == body["max_tokens"] else None
            choice: dict[str, Any] = {
                "index": 0,
                "text": "",
                "finish_reason": finish,
                "stop_reason": None,
            }
            choice["logprobs"] = {
                "token_logprobs": [log_prob],
                "tokens": ["?"],
                "top_logprobs": [{"?": log_prob}],
            }
            if body["return_token_ids"] and self.token_ids:
                choice["token_ids"] = [token]
            yield f"data: {json.dumps({'object': 'text_completion', 'choices': [choice]})}\n\n"
            if stops:
                break
            if broken and number == 2:
                return
        yield "data: [DONE]\n\n"

    async def _guard(self, request: Request) -> None:
        if not request.url.path.startswith("/v1"):  # as vLLM does
            return
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            raise HTTPException(401, "Unauthorized")

    def __enter__(self) -> Self:
        """Serve from a thread of this process."""
        config = uvicorn.Config(
            self.app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        socket = config.bind_socket()
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [socket]}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def error(status: int, message: str) -> JSONResponse:
    return JSONResponse(
        {"error": {"message": message, "type": "Error", "code": status}}, status_code=status
    )


def main(folder: str, port: str = "0") -> None:
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    server = VllmClient(model, os.environ.get("VLLM_API_KEY"))
    config = uvicorn.Config(server.app, port=int(port), log_level="error")
    socket = config.bind_socket()
    print(f"serving on http://127.0.0.1:{socket.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main(*sys.argv[1:])
