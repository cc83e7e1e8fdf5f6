"""What the audit log records: calls of the engine, documents that are read, chats that are deleted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from ...documents.decoder import Decoder
from ...protocol.documents import Document, PageRead
from ...protocol.events import Delta, Embeddings, End, Event
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from ..chats.service import MAX_PATH, Conversations
from ..chats.store import History
from ..http.identity import caller_fields
from ..inference.base import Engine
from .audit_log import AuditLog
from .observed_engine import Call, CallObserver, Outcome

ACTIONS = {"stream": "chat", "complete": "complete", "embed": "embed", "load": "load"}


class _Entry:
    """The records of one action: one before it begins, one at its end."""

    def __init__(self, audit: AuditLog, action: str) -> None:
        self._audit = audit
        self._head = {"request": secrets.token_hex(8), "action": action, **caller_fields()}
        self._started = time.monotonic()

    async def begin(self, **facts: Any) -> None:
        """Raises `Failure("not_recorded")`: then the action must not begin."""
        await asyncio.to_thread(self._audit.require, {**self._head, "state": "asked", **facts})

    async def end(self, **facts: Any) -> None:
        """A failure to write comes too late to refuse the action: the log, the status and the next refusal report it."""
        record = {**self._head, **facts, "seconds": round(time.monotonic() - self._started, 3)}
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(self._audit.add, record)))

    async def note(self) -> None:
        """A single record of what is done already."""
        await asyncio.to_thread(self._audit.add, {**self._head, "state": "done"})


# ---------------------------------------------------------------------------------------------- the engine


class Recorder:
    """Observes an engine for the audit log: a call that cannot be recorded is refused with `not_recorded`.

    `unload` and `park` only free memory: they are recorded once done and never refused.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    @property
    def failure(self) -> Failure | None:
        return self._audit.failure

    async def on_start(self, call: Call) -> CallObserver:
        if call.method in ("unload", "park"):
            return _Note(_Entry(self._audit, call.method))
        entry = _Entry(self._audit, ACTIONS[call.method])
        await entry.begin(**await asyncio.to_thread(_facts, call))
        return _Record(entry, has_text=call.method in ("stream", "complete"))


class _Note:
    def __init__(self, entry: _Entry) -> None:
        self._entry = entry

    def on_event(self, event: Event | Embeddings) -> None:
        pass

    async def on_end(self, outcome: Outcome) -> None:
        if outcome.state == "done":
            await self._entry.note()


class _Record:
    """What the events of a call reveal of its cost and end; the answer's text only as a hash."""

    def __init__(self, entry: _Entry, has_text: bool) -> None:
        self._entry, self._has_text = entry, has_text
        self._text = hashlib.sha256()
        self._facts: dict[str, Any] = {}

    def on_event(self, event: Event | Embeddings) -> None:
        if isinstance(event, Delta):
            self._text.update(event.text.encode("utf-8", "replace"))
        elif isinstance(event, End):
            usage = event.usage
            self._facts = {"state": event.reason, "model": usage.model, "prompt_tokens": usage.prompt_tokens}
            self._facts["completion_tokens"] = usage.completion_tokens
        elif isinstance(event, Embeddings):
            self._facts = {"state": "stop", "model": event.model, "prompt_tokens": event.prompt_tokens}

    async def on_end(self, outcome: Outcome) -> None:
        facts = {"state": "left"} | self._facts
        if outcome.failure is not None:
            # only the code: the message may quote any text as the model's name
            facts |= {"state": "failed", "code": outcome.failure.code}
        elif outcome.state == "done" and not self._facts:  # a load
            facts |= {"state": "done", "model": outcome.model}
        if self._has_text:
            facts["answer_sha256"] = self._text.hexdigest()
        await self._entry.end(**facts)


def _facts(call: Call) -> dict[str, Any]:
    """What is known of a call before it begins; its text only as a hash."""
    request = call.request
    if isinstance(request, ChatRequest):
        path = (request.extras.notebook or {}).get("path")
        notebook = path[:MAX_PATH] if isinstance(path, str) else None  # a client may send anything there
        messages = json.dumps([message.to_dict() for message in request.messages], sort_keys=True)
        return {"client": request.extras.client, "notebook": notebook, "prompt_sha256": _sha256(messages)}
    if isinstance(request, CompletionRequest):
        return {"client": "completion", "prompt_sha256": _sha256(f"{request.prompt}\0{request.suffix}")}
    if isinstance(request, EmbeddingRequest):
        return {"client": "api", "prompt_sha256": _sha256("\0".join(request.texts))}
    return {"download": call.download}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


# ---------------------------------------------------------------------------------------------- documents and chats


@contextlib.asynccontextmanager
async def _recorded(audit: AuditLog, action: str, **facts: Any) -> AsyncIterator[dict[str, Any]]:
    """Record an action; the caller adds facts of its end to the dict. Raises `Failure("not_recorded")` before it begins."""
    entry, end = _Entry(audit, action), {"state": "left"}
    await entry.begin(**facts)
    try:
        yield end
    except Failure as failure:
        end |= {"state": "failed", "code": failure.code}
        raise
    finally:
        await entry.end(**end)


class RecordedDecoder(Decoder):
    """Records the documents that are read; images belong to a request, which is recorded itself."""

    def __init__(self, audit: AuditLog) -> None:
        super().__init__()
        self._audit = audit

    async def document(
        self, data: bytes, pages: Sequence[tuple[int, int]] = (), ocr: str = "auto", what: str = "The document"
    ) -> AsyncGenerator[PageRead | Document, None]:
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        steps = super().document(data, pages, ocr, what)
        facts = {"bytes": len(data), "document_sha256": digest}
        async with _recorded(self._audit, "read", **facts) as end, contextlib.aclosing(steps):
            async for step in steps:
                if isinstance(step, Document):
                    end |= {"state": "done", "pages": len(step.pages)}
                yield step


class RecordedConversations(Conversations):
    """Records deletions; the engine records the questions that are asked in chats."""

    def __init__(self, history: History, engine: Engine, audit: AuditLog) -> None:
        super().__init__(history, engine)
        self._audit = audit

    async def delete(self, chat: str) -> None:
        async with _recorded(self._audit, "delete_chat", chat=chat) as end:
            await super().delete(chat)
            end["state"] = "done"

    async def drop_messages(self, chat: str, first: str) -> dict[str, Any]:
        async with _recorded(self._audit, "delete_messages", chat=chat, message=first) as end:
            left = await super().drop_messages(chat, first)
            end["state"] = "done"
            return left
