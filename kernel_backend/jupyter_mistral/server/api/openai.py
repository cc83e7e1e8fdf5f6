"""The routes of the OpenAI and Mistral APIs, under /mistral/v1. `protocol/openapi.json` describes them."""

from __future__ import annotations

import difflib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any, TypeVar

from ...protocol.events import Event
from ...protocol.failures import Failure
from ...protocol.parsing import parse_chat, parse_completion, parse_embedding, parse_fim
from ...protocol.requests import ChatRequest, CompletionRequest
from ...protocol.status import ModelCard
from ..http.handler import Route, Table
from ..inference.base import Engine
from .openai_format import ChatStream, Complete, Numbered, TextStream, embeddings_to_json

R = TypeVar("R", ChatRequest, CompletionRequest)
OPENAPI = "protocol/openapi.json"


def table(engine: Engine) -> Table:
    parts = {"engine": engine}
    return [
        (r"/mistral/v1/chat/completions", Chat, parts),
        (r"/mistral/v1/completions", Completions, parts),
        (r"/mistral/v1/fim/completions", Fim, parts),
        (r"/mistral/v1/embeddings", Embeddings, parts),
        (r"/mistral/v1/models", Models, parts),
        (r"/mistral/v1/models/(.+)", Model, parts),
        (r"/mistral/(?:v1/)?health", Health, parts),
        (r"/mistral/v1/openapi\.json", OpenApi, {}),
    ]


class EngineRoute(Route):
    def initialize(self, engine: Engine) -> None:
        self._engine = engine

    def _model(self) -> str:
        return self._engine.model


async def answers(ask: Callable[[R], AsyncGenerator[Event, None]], request: R) -> AsyncGenerator[Numbered, None]:
    """The `n` answers to a request, one after the other; all but the first find their prompt in the prefix cache."""
    for index in range(request.n):
        seed = request.sampling.seed
        sampling = replace(request.sampling, seed=None if seed is None else (seed + index) % 2**53)
        async with aclosing(ask(replace(request, n=1, sampling=sampling))) as events:
            async for event in events:
                yield index, event


class Chat(EngineRoute):
    async def post(self) -> None:
        request: ChatRequest = await self.read_body(parse_chat)
        events = answers(self._engine.stream, request)
        if not request.stream:
            complete = Complete(self._model, "chat.completion", "chatcmpl", request.top_logprobs is not None)
            await self.gather(events, complete.add)
            self.answer(complete.chat())
            return
        chunks = ChatStream(self._model, request.extras.events, request.include_usage)
        has_last = request.include_usage and not request.extras.events
        await self.stream(
            events, chunks.chunk, is_early=request.extras.events, last=chunks.usage_chunk if has_last else None
        )


class Completions(EngineRoute):
    async def post(self) -> None:
        request: CompletionRequest = await self.read_body(parse_completion)
        events = answers(self._engine.complete, request)
        if not request.stream:
            complete = Complete(self._model, "text_completion", "cmpl")
            await self.gather(events, complete.add)
            self.answer(complete.text())
            return
        chunks = TextStream(self._model, request.include_usage)
        await self.stream(
            events, chunks.chunk, is_early=False, last=chunks.usage_chunk if request.include_usage else None
        )


class Fim(EngineRoute):
    """Fill in the middle, as in Mistral's API."""

    async def post(self) -> None:
        request: CompletionRequest = await self.read_body(parse_fim)
        events = answers(self._engine.complete, request)
        if request.stream:
            await self.stream(events, TextStream(self._model, False, is_fim=True).chunk, is_early=False)
            return
        complete = Complete(self._model, "chat.completion", "fim")
        await self.gather(events, complete.add)
        self.answer(complete.chat())


class Embeddings(EngineRoute):
    async def post(self) -> None:
        request = await self.read_body(parse_embedding)
        self.answer(embeddings_to_json(await self._engine.embed(request), request.is_base64))


class Models(EngineRoute):
    """The loaded model first, then the others on this machine."""

    async def get(self) -> None:
        self.answer({"object": "list", "data": [_row(card) for card in await self._engine.cards()]})


class Model(EngineRoute):
    async def get(self, name: str) -> None:
        cards = await self._engine.cards()
        for card in cards:
            if name in (card.name, "default"):
                self.answer(_row(card))
                return
        near = difflib.get_close_matches(name[:100], [card.name for card in cards], 3, 0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise Failure(
            "unknown_model",
            f"There is no model {name[:100]!r} on this server.",
            f"{hint}GET /mistral/v1/models lists the models.",
            "model",
        )


def _row(card: ModelCard) -> dict[str, Any]:
    """OpenAI's model object with the fields that Mistral's API adds."""
    abilities = {
        "completion_chat": True,
        "completion_fim": "fim" in card.can,
        "function_calling": "tools" in card.can,
        "vision": "image" in card.can,
        "fine_tuning": False,
    }
    return {
        "id": card.name,
        "object": "model",
        "created": 0,
        "owned_by": "local",
        "type": "base",
        "capabilities": abilities,
        "max_context_length": card.context_length,
        "mistral": asdict(card),
    }


class Health(EngineRoute):
    """The state of the model, for clients with a token. Jupyter's own /api is open and only shows that the server is up."""

    async def get(self) -> None:
        status = await self._engine.status()
        is_healthy = status.state != "failed"
        health = {"status": "ok" if is_healthy else "failed", "state": status.state, "model": self._engine.model}
        self.answer(health, 200 if is_healthy else 503)


class OpenApi(Route):
    async def get(self) -> None:
        self.answer(json.loads(files("jupyter_mistral").joinpath(OPENAPI).read_text(encoding="utf-8")))
