"""The addresses that any client of the OpenAI and Mistral APIs knows, under /mistral/v1. `openapi.json` describes them."""

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
from .openai_format import ChatStream, Numbered, TextStream, Whole, vectors

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
    """The `n` answers to a request, one after the other: all but the first find the prompt read already."""
    for index in range(request.n):
        seed = request.sampling.seed
        sampling = replace(request.sampling, seed=None if seed is None else (seed + index) % 2**53)
        async with aclosing(ask(replace(request, n=1, sampling=sampling))) as events:
            async for event in events:
                yield index, event


class Chat(EngineRoute):
    async def post(self) -> None:
        request: ChatRequest = await self.take(parse_chat)
        events = answers(self._engine.stream, request)
        if not request.stream:
            whole = Whole(self._model, "chat.completion", "chatcmpl", request.top_logprobs is not None)
            await self.gather(events, whole.add)
            self.answer(whole.chat())
            return
        shape = ChatStream(self._model, request.extras.events, request.include_usage)
        has_last = request.include_usage and not request.extras.events
        await self.stream(
            events, shape.chunk, is_early=request.extras.events, last=shape.usage_chunk if has_last else None
        )


class Completions(EngineRoute):
    async def post(self) -> None:
        request: CompletionRequest = await self.take(parse_completion)
        events = answers(self._engine.complete, request)
        if not request.stream:
            whole = Whole(self._model, "text_completion", "cmpl")
            await self.gather(events, whole.add)
            self.answer(whole.text())
            return
        shape = TextStream(self._model, request.include_usage)
        await self.stream(
            events, shape.chunk, is_early=False, last=shape.usage_chunk if request.include_usage else None
        )


class Fim(EngineRoute):
    """Fill in the middle under the name and in the shape of Mistral's own API."""

    async def post(self) -> None:
        request: CompletionRequest = await self.take(parse_fim)
        events = answers(self._engine.complete, request)
        if request.stream:
            await self.stream(events, TextStream(self._model, False, is_fim=True).chunk, is_early=False)
            return
        whole = Whole(self._model, "chat.completion", "fim")
        await self.gather(events, whole.add)
        self.answer(whole.chat())


class Embeddings(EngineRoute):
    async def post(self) -> None:
        request = await self.take(parse_embedding)
        self.answer(vectors(await self._engine.embed(request), request.is_base64))


class Models(EngineRoute):
    """The loaded model first, then what else lies on disk."""

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
            f"There is no model {name[:100]!r} here.",
            f"{hint}GET /mistral/v1/models lists them.",
            "model",
        )


def _row(card: ModelCard) -> dict[str, Any]:
    """OpenAI's object with what Mistral's API adds to it."""
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
    """For whoever has a token: Jupyter's own /api tells anybody that the server is up, and this tells how the model is."""

    async def get(self) -> None:
        status = await self._engine.status()
        is_well = status.state != "failed"
        told = {"status": "ok" if is_well else "failed", "state": status.state, "model": self._engine.model}
        self.answer(told, 200 if is_well else 503)


class OpenApi(Route):
    async def get(self) -> None:
        self.answer(json.loads(files("jupyter_mistral").joinpath(OPENAPI).read_text(encoding="utf-8")))
