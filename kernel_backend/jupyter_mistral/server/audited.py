"""What the audit log records: an engine like any other, whose requests, loads and unloads leave a record as they begin and end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any, cast

from ..protocol import ChatRequest, CompletionRequest, Delta, EmbeddingRequest, Embeddings, End, Event, Failure, Loading
from .audit import AuditLog
from .caller import CALLER
from .engine import Engine


def audited(engine: Engine, audit: AuditLog) -> Engine:
    """The same engine, whose requests are recorded."""
    return cast(Engine, _Audited(engine, audit))


class _Audited:
    """Passes everything on to the engine; requests, loads and unloads leave a record as they begin and as they end."""

    def __init__(self, engine: Engine, audit: AuditLog) -> None:
        self._engine, self._audit = engine, audit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def _note(self, request: str, action: str, **facts: Any) -> None:
        told = {"request": request, "action": action, "account": _account()}
        # who logged in with Jupyter's own token has a name by chance there: the account is what says who it was
        told["user"] = CALLER.get() or "kernel or tool of the owner"
        await asyncio.to_thread(self._audit.add, {**told, **facts})

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        notebook = (request.extras.notebook or {}).get("path")
        facts = {"client": request.extras.client, "notebook": notebook, "prompt_sha256": _hash_of_chat(request)}
        followed = self._followed("chat", facts, self._engine.stream(request))
        async with contextlib.aclosing(followed) as events:
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        text = f"{request.prompt}\0{request.suffix}".encode("utf-8", "replace")
        facts = {"client": "completion", "prompt_sha256": hashlib.sha256(text).hexdigest()}
        followed = self._followed("complete", facts, self._engine.complete(request))
        async with contextlib.aclosing(followed) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        name, started = secrets.token_hex(8), time.monotonic()
        text = "\0".join(request.texts).encode("utf-8", "replace")
        await self._note(name, "embed", state="asked", client="api", prompt_sha256=hashlib.sha256(text).hexdigest())
        told: dict[str, Any] = {"state": "left"}
        try:
            found = await self._engine.embed(request)
            told = {"state": "stop", "model": found.model, "prompt_tokens": found.prompt_tokens}
            return found
        except Failure as failure:
            told = {"state": "failed", "code": failure.code}
            raise
        finally:
            told["seconds"] = round(time.monotonic() - started, 3)
            await asyncio.shield(asyncio.ensure_future(self._note(name, "embed", **told)))

    async def _followed(
        self, action: str, facts: dict[str, Any], events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        name, started, said = secrets.token_hex(8), time.monotonic(), hashlib.sha256()
        await self._note(name, action, state="asked", **facts)
        told: dict[str, Any] = {"state": "left"}  # by the client, unless it ends otherwise
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, Delta):
                        said.update(event.text.encode("utf-8", "replace"))
                    elif isinstance(event, End):
                        told = {"state": event.reason, "model": event.usage.model}
                        told["prompt_tokens"] = event.usage.prompt_tokens
                        told["completion_tokens"] = event.usage.completion_tokens
                    yield event
        except Failure as failure:
            # not the name that was asked for: it may be any text
            told = {"state": "failed", "code": failure.code}
            raise
        finally:
            told |= {"seconds": round(time.monotonic() - started, 3), "answer_sha256": said.hexdigest()}
            await asyncio.shield(asyncio.ensure_future(self._note(name, action, **told)))

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        identity, told = secrets.token_hex(8), "left"
        try:
            async with contextlib.aclosing(
                self._engine.load(name, download=download, kv=kv, adapter=adapter, spill=spill)
            ) as events:
                async for progress in events:
                    yield progress
            told = "done"
        except Failure as failure:
            told = failure.code
            raise
        finally:
            model = self._engine.model if told == "done" else None
            note = self._note(identity, "load", state=told, model=model, download=download)
            await asyncio.shield(asyncio.ensure_future(note))

    async def unload(self) -> None:
        await self._engine.unload()
        await self._note(secrets.token_hex(8), "unload", state="done")

    async def park(self) -> None:
        await self._engine.park()
        await self._note(secrets.token_hex(8), "park", state="done")


@lru_cache
def _account() -> str:
    """The account of this machine that the server runs as: by its number, since LOGNAME says what whoever starts it likes."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except ImportError:  # Windows
        return os.environ.get("USERNAME", "")
    except KeyError:  # a container whose number has no name
        return str(os.getuid())


def _hash_of_chat(request: ChatRequest) -> str:
    told = json.dumps([message.to_dict() for message in request.messages], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
