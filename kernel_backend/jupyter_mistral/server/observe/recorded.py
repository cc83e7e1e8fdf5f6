"""What the audit log records: an engine, a reader of documents and chats like any others, whose doings leave a record before they
begin and at their end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

from ...documents.decoder import Decoder
from ...protocol.documents import Document, PageRead
from ...protocol.events import Delta, Embeddings, End, Event, Loading
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from ...protocol.status import Status
from ..chats.service import MAX_PATH, Conversations
from ..http.identity import who
from ..inference.base import Engine
from .audit_log import AuditLog


def audited(engine: Engine, audit: AuditLog) -> Engine:
    """The same engine, whose requests are recorded; one that cannot be is refused with `not_recorded`."""
    return cast(Engine, _Audited(engine, audit))


def audited_reader(decoder: Decoder, audit: AuditLog) -> Decoder:
    """The same decoder, whose documents are recorded; pictures belong to a request."""
    return cast(Decoder, _AuditedReader(decoder, audit))


def audited_chats(conversations: Conversations, audit: AuditLog) -> Conversations:
    """The same chats, whose deletions are recorded; what is asked in them the engine records."""
    return cast(Conversations, _AuditedChats(conversations, audit))


@contextlib.asynccontextmanager
async def _recorded(audit: AuditLog, action: str, **facts: Any) -> AsyncIterator[dict[str, Any]]:
    """A record before what is asked for, and one at its end with whatever was put into the dict.

    Raises `Failure("not_recorded")` before it begins. A record of its end that cannot be written comes too late for that:
    the log and the status tell it, and what is asked for next is refused.
    """
    head = {"request": secrets.token_hex(8), "action": action, **who()}
    told: dict[str, Any] = {"state": "left"}  # by the client, unless it ends otherwise
    started = time.monotonic()
    await asyncio.to_thread(audit.require, {**head, "state": "asked", **facts})
    try:
        yield told
    except Failure as failure:
        # not the name that was asked for: it may be any text
        told |= {"state": "failed", "code": failure.code}
        raise
    finally:
        told["seconds"] = round(time.monotonic() - started, 3)
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(audit.add, {**head, **told})))


class _Audited:
    """Passes everything on to the engine. What only gives memory back is recorded, but never refused."""

    def __init__(self, engine: Engine, audit: AuditLog) -> None:
        self._engine, self._audit = engine, audit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        path = (request.extras.notebook or {}).get("path")
        notebook = path[:MAX_PATH] if isinstance(path, str) else None  # a client may put anything there
        facts = {"client": request.extras.client, "notebook": notebook, "prompt_sha256": _hash_of_chat(request)}
        followed = self._followed("chat", facts, self._engine.stream(request))
        async with contextlib.aclosing(followed) as events:
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        facts = {"client": "completion", "prompt_sha256": _hash_of(f"{request.prompt}\0{request.suffix}")}
        followed = self._followed("complete", facts, self._engine.complete(request))
        async with contextlib.aclosing(followed) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        facts = {"client": "api", "prompt_sha256": _hash_of("\0".join(request.texts))}
        async with _recorded(self._audit, "embed", **facts) as told:
            found = await self._engine.embed(request)
            told |= {"state": "stop", "model": found.model, "prompt_tokens": found.prompt_tokens}
            return found

    async def _followed(
        self, action: str, facts: dict[str, Any], events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        said = hashlib.sha256()
        async with _recorded(self._audit, action, **facts) as told, contextlib.aclosing(events):
            try:
                async for event in events:
                    if isinstance(event, Delta):
                        said.update(event.text.encode("utf-8", "replace"))
                    elif isinstance(event, End):
                        told |= {"state": event.reason, "model": event.usage.model}
                        told["prompt_tokens"] = event.usage.prompt_tokens
                        told["completion_tokens"] = event.usage.completion_tokens
                    yield event
            finally:
                told["answer_sha256"] = said.hexdigest()

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        events = self._engine.load(name, download=download, kv=kv, adapter=adapter, spill=spill)
        async with _recorded(self._audit, "load", download=download) as told, contextlib.aclosing(events):
            async for progress in events:
                yield progress
            told |= {"state": "done", "model": self._engine.model}

    async def unload(self) -> None:
        await self._engine.unload()
        await self._note("unload")

    async def park(self) -> None:
        await self._engine.park()
        await self._note("park")

    async def _note(self, action: str) -> None:
        told = {"request": secrets.token_hex(8), "action": action, **who(), "state": "done"}
        await asyncio.to_thread(self._audit.add, told)

    async def status(self) -> Status:
        """The engine's; a log that cannot be written comes before any other failure."""
        status, failure = await self._engine.status(), self._audit.failure
        return replace(status, failure=failure.to_dict()) if failure is not None else status


class _AuditedReader:
    def __init__(self, decoder: Decoder, audit: AuditLog) -> None:
        self._decoder, self._audit = decoder, audit

    async def document(
        self, data: bytes, pages: Sequence[tuple[int, int]] = (), ocr: str = "auto"
    ) -> AsyncGenerator[PageRead | Document, None]:
        hashed = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        steps = self._decoder.document(data, pages, ocr)
        facts = {"bytes": len(data), "document_sha256": hashed}
        async with _recorded(self._audit, "read", **facts) as told, contextlib.aclosing(steps):
            async for step in steps:
                if isinstance(step, Document):
                    told |= {"state": "done", "pages": len(step.pages)}
                yield step


class _AuditedChats:
    def __init__(self, conversations: Conversations, audit: AuditLog) -> None:
        self._conversations, self._audit = conversations, audit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversations, name)

    async def delete(self, chat: str) -> None:
        async with _recorded(self._audit, "delete_chat", chat=chat) as told:
            await self._conversations.delete(chat)
            told["state"] = "done"

    async def drop_messages(self, chat: str, first: str) -> dict[str, Any]:
        async with _recorded(self._audit, "delete_messages", chat=chat, message=first) as told:
            left = await self._conversations.drop_messages(chat, first)
            told["state"] = "done"
            return left


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _hash_of_chat(request: ChatRequest) -> str:
    return _hash_of(json.dumps([message.to_dict() for message in request.messages], sort_keys=True))
