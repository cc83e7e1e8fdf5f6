"""The addresses under /mistral: those of `v1.py` that any client knows, and our own for status, load and context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...protocol.events import Loading
from ...protocol.failures import Failure
from ...protocol.parsing import parse_chat
from ...protocol.requests import ChatRequest
from ...protocol.status import KV
from ...protocol.wire import to_chunk
from ..chats.service import to_engine
from ..http.handler import Route, Table
from ..inference.base import Engine
from ..prompts.builder import PromptBuilder
from ..prompts.token_counts import is_exact
from . import openai
from .openai import EngineRoute

if TYPE_CHECKING:
    from ...context import Plan


def table(engine: Engine, prompts: PromptBuilder) -> Table:
    """Every address but those of chats; `nothing` must come last."""
    return [
        *openai.table(engine),
        (r"/mistral/api/status", StatusRoute, {"engine": engine}),
        (r"/mistral/api/models", Catalogue, {"engine": engine}),
        (r"/mistral/api/load", Load, {"engine": engine}),
        (r"/mistral/api/unload", Unload, {"engine": engine}),
        (r"/mistral/api/park", Park, {"engine": engine}),
        (r"/mistral/api/context", Context, {"engine": engine, "prompts": prompts}),
    ]


class Nothing(Route):
    """Whatever else is asked for under /mistral: a failure of our shape, not a page."""

    async def get(self, *args: str) -> None:
        raise Failure(
            "not_found",
            "There is nothing at this address.",
            "The base URL of a client ends in /mistral/v1; README lists the addresses.",
        )

    post = put = patch = delete = get


NOTHING: Table = [(r"/mistral(?:/.*)?", Nothing, {})]
# where nobody else answers
ANYWHERE: Table = [(r".*", Nothing, {})]


class StatusRoute(EngineRoute):
    async def get(self) -> None:
        self.answer((await self._engine.status()).to_dict())


class Catalogue(EngineRoute):
    async def get(self) -> None:
        self.answer({"models": await self._engine.rows()})


class Load(EngineRoute):
    async def post(self) -> None:
        name, download, kv, adapter, spill = await self.take(_parse_load)

        async def last() -> Mapping[str, Any]:
            return {"mistral": {"event": "ready", "status": (await self._engine.status()).to_dict()}}

        def chunk(progress: Loading) -> dict[str, Any]:
            return to_chunk(progress, {"object": "mistral.load"})

        events = self._engine.load(name, download=download, kv=kv, adapter=adapter, spill=spill)
        await self.stream(events, chunk, last=last)


class Unload(EngineRoute):
    async def post(self) -> None:
        await self.take(_parse_nothing)
        await self._engine.unload()
        self.answer((await self._engine.status()).to_dict())


class Park(EngineRoute):
    """Lends the device to whoever needs it now."""

    async def post(self) -> None:
        await self.take(_parse_nothing)
        await self._engine.park()
        self.answer((await self._engine.status()).to_dict())


class Context(Route):
    """What a prompt would hold and cost; nothing is generated."""

    def initialize(self, engine: Engine, prompts: PromptBuilder) -> None:
        self._engine, self._prompts = engine, prompts

    async def post(self) -> None:
        request: ChatRequest = await self.take(parse_chat)
        if request.extras.client == "panel":  # as its chat will send it
            request = replace(request, messages=to_engine([(m.role, m.content) for m in request.messages]))
        request = await self._prompts.checked(request)
        target = await self._engine.target(request.model)
        told = {
            "model": target.card.name,
            "budget": self._prompts.budget(request, target),
            "context_length": target.card.context_length,
            "counted": "exact" if is_exact(request, target) else "estimated",
        }
        plan = await self._prompts.plan(request, target) if request.extras.thorough else None
        if plan is not None:
            self.answer({**told, **_parts(plan)})
            return
        built = await self._prompts.build(request, target, keep=False)
        self.answer(
            {
                **told,
                "tokens": built.total_tokens,
                "ledger": [segment.to_dict() for segment in built.ledger],
                "left_out": list(built.left_out),
                "notes": list(built.notes),
            }
        )


def _parts(plan: Plan) -> dict[str, Any]:
    """What a thorough reading will read; the last prompt, of the notes, is not known yet."""
    return {
        "tokens": plan.tokens,
        "ledger": [segment.to_dict() for window in plan.windows for segment in window.ledger],
        "left_out": list(plan.left_out),
        "notes": [],
        "parts": [{"cells": w.about, "tokens": w.tokens, "note_tokens": w.room} for w in plan.windows],
    }


def _parse_load(body: Any) -> tuple[str | None, bool, str | None, str | None, bool | None]:
    if not isinstance(body, dict) or not body.keys() <= {"model", "download", "kv", "adapter", "spill"}:
        raise Failure("bad_request", "Only model, download, kv, adapter and spill may be given.", "Leave the rest out.")
    name, download = body.get("model"), body.get("download", False)
    if name is not None and (not isinstance(name, str) or not 0 < len(name) <= 300 or "\0" in name):
        raise Failure("bad_request", "model must be a name of up to 300 characters.", "Change it.", "model")
    if not isinstance(download, bool):
        raise Failure("bad_request", "download must be true or false.", "Change it.", "download")
    kv = body.get("kv")
    if kv not in (None, *KV):
        raise Failure("bad_request", f"kv must be one of {', '.join(KV)}.", "Change it.", "kv")
    adapter = body.get("adapter")
    if adapter is not None and not isinstance(adapter, str):
        raise Failure("bad_request", "adapter must be a name, or empty for none.", "Change it.", "adapter")
    spill = body.get("spill")
    if spill is not None and not isinstance(spill, bool):
        raise Failure("bad_request", "spill must be true or false.", "Change it.", "spill")
    return name, download, kv, adapter, spill


def _parse_nothing(body: Any) -> None:
    if body != {}:
        raise Failure("bad_request", "Nothing may be given here.", "Send an empty object.")
