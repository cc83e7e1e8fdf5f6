"""Routes of the model under /mistral/api: status, catalogue, load, unload, park and context; `openai.py` has those of /mistral/v1."""

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
from ..prompts.token_counters import is_exact
from . import openai
from .openai import EngineRoute

if TYPE_CHECKING:
    from ...context import Plan


def table(engine: Engine, prompts: PromptBuilder) -> Table:
    """All routes of the model; `NOT_FOUND` must come after them."""
    return [
        *openai.table(engine),
        (r"/mistral/api/status", StatusRoute, {"engine": engine}),
        (r"/mistral/api/models", Catalogue, {"engine": engine}),
        (r"/mistral/api/load", Load, {"engine": engine}),
        (r"/mistral/api/unload", Unload, {"engine": engine}),
        (r"/mistral/api/park", Park, {"engine": engine}),
        (r"/mistral/api/context", Context, {"engine": engine, "prompts": prompts}),
    ]


class NotFound(Route):
    """Answers all other addresses with a failure in JSON instead of a page."""

    async def get(self, *args: str) -> None:
        raise Failure(
            "not_found",
            "There is no such address.",
            "A client's base URL ends in /mistral/v1. The README lists the addresses.",
        )

    post = put = patch = delete = get


NOT_FOUND: Table = [(r"/mistral(?:/.*)?", NotFound, {})]
# for a server that has no other routes
NOT_FOUND_ANYWHERE: Table = [(r".*", NotFound, {})]


class StatusRoute(EngineRoute):
    async def get(self) -> None:
        self.answer((await self._engine.status()).to_dict())


class Catalogue(EngineRoute):
    async def get(self) -> None:
        self.answer({"models": await self._engine.rows()})


class Load(EngineRoute):
    async def post(self) -> None:
        arguments = await self.read_body(_parse_load)

        async def last() -> Mapping[str, Any]:
            return {"mistral": {"event": "ready", "status": (await self._engine.status()).to_dict()}}

        def chunk(progress: Loading) -> dict[str, Any]:
            return to_chunk(progress, {"object": "mistral.load"})

        await self.stream(self._engine.load(**arguments), chunk, last=last)


class Unload(EngineRoute):
    async def post(self) -> None:
        await self.read_body(_parse_nothing)
        await self._engine.unload()
        self.answer((await self._engine.status()).to_dict())


class Park(EngineRoute):
    """Moves the weights off the GPU, to lend its memory."""

    async def post(self) -> None:
        await self.read_body(_parse_nothing)
        await self._engine.park()
        self.answer((await self._engine.status()).to_dict())


class Context(Route):
    """What a prompt would contain and how many tokens it would cost; generates nothing."""

    def initialize(self, engine: Engine, prompts: PromptBuilder) -> None:
        self._engine, self._prompts = engine, prompts

    async def post(self) -> None:
        request: ChatRequest = await self.read_body(parse_chat)
        if request.extras.client == "panel":  # build the messages as its chat does
            request = replace(request, messages=to_engine([(m.role, m.content) for m in request.messages]))
        request = await self._prompts.checked(request)
        target = await self._engine.target(request.model)
        summary = {
            "model": target.card.name,
            "budget": self._prompts.budget(request, target),
            "context_length": target.card.context_length,
            "counted": "exact" if is_exact(request, target) else "estimated",
        }
        plan = await self._prompts.plan(request, target) if request.extras.thorough else None
        if plan is not None:
            self.answer({**summary, **_plan_to_json(plan)})
            return
        built = await self._prompts.build(request, target, keep=False)
        self.answer(
            {
                **summary,
                "tokens": built.total_tokens,
                "ledger": [segment.to_dict() for segment in built.ledger],
                "left_out": list(built.left_out),
                "notes": list(built.notes),
            }
        )


def _plan_to_json(plan: Plan) -> dict[str, Any]:
    """What reading in parts will read; the last prompt, with the notes, is not known yet."""
    return {
        "tokens": plan.tokens,
        "ledger": [segment.to_dict() for window in plan.windows for segment in window.ledger],
        "left_out": list(plan.left_out),
        "notes": [],
        "parts": [{"cells": w.about, "tokens": w.tokens, "note_tokens": w.note_tokens} for w in plan.windows],
    }


def _parse_load(body: Any) -> dict[str, Any]:
    """The arguments of `Engine.load`."""
    names = ("model", "download", "kv", "adapter", "spill")
    if not isinstance(body, dict) or not body.keys() <= set(names):
        raise Failure("bad_request", f"Only these fields are allowed: {', '.join(names)}.", "Remove the others.")
    name, kv, adapter = body.get("model"), body.get("kv"), body.get("adapter")
    download, spill = body.get("download", False), body.get("spill")
    if name is not None and (not isinstance(name, str) or not 0 < len(name) <= 300 or "\0" in name):
        raise _invalid("model", "a name of up to 300 characters")
    if not isinstance(download, bool):
        raise _invalid("download", "true or false")
    if kv not in (None, *KV):
        raise _invalid("kv", f"one of {', '.join(KV)}")
    if adapter is not None and not isinstance(adapter, str):
        raise _invalid("adapter", "a name, or empty for none")
    if spill is not None and not isinstance(spill, bool):
        raise _invalid("spill", "true or false")
    return {"name": name, "download": download, "kv": kv, "adapter": adapter, "spill": spill}


def _invalid(field: str, allowed: str) -> Failure:
    return Failure("bad_request", f"{field} must be {allowed}.", "Change it.", field)


def _parse_nothing(body: Any) -> None:
    if body != {}:
        raise Failure("bad_request", "This address takes no parameters.", "Send an empty object.")
