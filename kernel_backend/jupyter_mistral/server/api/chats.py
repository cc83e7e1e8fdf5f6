"""The routes of chats, under /mistral/api/chats; `chats/service.py` does the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ...protocol.events import Delta, End
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.parsing import parse_ask, parse_texts
from ...protocol.requests import Ask
from ...protocol.wire import to_chunk
from ..chats.running_answer import AnswerEvent, RunningAnswer, Saved
from ..chats.service import MAX_PATH, MAX_TITLE, Conversations, Exchange
from ..http.handler import Route, Table

MAX_SEARCH = 200
FORMATS = {"markdown": ("text/markdown; charset=utf-8", "md"), "ipynb": ("application/x-ipynb+json", "ipynb")}
CHATS = r"/mistral/api/chats"
CHAT = rf"{CHATS}/([0-9a-f]{{32}})"
MESSAGE = rf"{CHAT}/messages/([0-9a-f]{{32}})"


def table(conversations: Conversations) -> Table:
    parts = {"conversations": conversations}
    return [
        (CHATS, Chats, parts),
        (CHAT, Chat, parts),
        (rf"{CHAT}/export", Export, parts),
        (rf"{CHAT}/ask", AskRoute, parts),
        (MESSAGE, Message, parts),
        (rf"{MESSAGE}/stream", Follow, parts),
        (rf"{MESSAGE}/stop", Stop, parts),
    ]


class ChatRoute(Route):
    def initialize(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def _answer_chat(self, chat: Mapping[str, Any]) -> None:
        # in a thread, since images are encoded as base64
        self.answer(await asyncio.to_thread(_chat_to_json, chat))

    async def _follow(self, answer: RunningAnswer, first: Mapping[str, Any] | None, has_progress: bool) -> None:
        base = {
            "id": f"chatcmpl-{answer.message}",
            "object": "chat.completion.chunk",
            "created": int(answer.created),
            "model": self._conversations.model,
        }

        async def events() -> AsyncGenerator[AnswerEvent | None, None]:
            if first is not None:
                yield None
            async for event in answer.read():
                yield event

        def chunk(event: AnswerEvent | None) -> Mapping[str, Any] | None:
            if event is None:
                return {**base, "choices": [], "mistral": first}
            if isinstance(event, Saved):
                return {**base, "choices": [], "mistral": {"event": "saved", "saved": event.saved}}
            return to_chunk(event, base) if has_progress or isinstance(event, (Delta, End)) else None

        await self.stream(events(), chunk)


class Chats(ChatRoute):
    async def get(self) -> None:
        search = self.get_query_argument("q", "")
        if len(search) > MAX_SEARCH:
            raise Failure("bad_request", f"q is longer than {MAX_SEARCH} characters.", "Shorten it.", "q")
        self.answer({"chats": await self._conversations.history.chats(search)})

    async def post(self) -> None:
        texts = await self.read_body(lambda body: parse_texts(body, {"title": MAX_TITLE, "notebook": MAX_PATH}))
        chat = await self._conversations.create(texts.get("title", ""), texts.get("notebook") or None)
        await self._answer_chat(chat)


class Chat(ChatRoute):
    async def get(self, chat: str) -> None:
        await self._answer_chat(await self._conversations.history.chat(chat))

    async def patch(self, chat: str) -> None:
        texts = await self.read_body(lambda body: parse_texts(body, {"title": MAX_TITLE}))
        await self._answer_chat(await self._conversations.rename(chat, texts.get("title", "")))

    async def delete(self, chat: str) -> None:
        await self._conversations.delete(chat)
        self.answer({"id": chat, "deleted": True})


class Export(ChatRoute):
    async def get(self, chat: str) -> None:
        kind = self.get_query_argument("format", "markdown")
        if kind not in FORMATS:
            raise Failure("bad_request", "format must be markdown or ipynb.", "Change it.", "format")
        mime, suffix = FORMATS[kind]
        record = await self._conversations.history.chat(chat)
        text = await asyncio.to_thread(_export, record, kind)
        self.set_header("Content-Type", mime)
        # as a download, so that a browser never shows it as a page of this server
        self.set_header("Content-Disposition", f'attachment; filename="chat-{chat[:8]}.{suffix}"')
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


class AskRoute(ChatRoute):
    async def post(self, chat: str) -> None:
        ask: Ask = await self.read_body(parse_ask)
        exchange: Exchange = await self._conversations.ask(chat, ask)
        first = {
            "event": "message",
            "user": _message_to_json(exchange.user),
            "assistant": _message_to_json(exchange.assistant),
            "title": exchange.title,
            "saved": self._conversations.history.is_saved(chat),
        }
        await self._follow(exchange.answer, first, ask.extras.events)


class Follow(ChatRoute):
    async def get(self, chat: str, message: str) -> None:
        await self._follow(self._conversations.answer(chat, message), None, True)


class Stop(ChatRoute):
    async def post(self, chat: str, message: str) -> None:
        await self.read_body(lambda body: parse_texts(body, {}))
        self.answer(_message_to_json(await self._conversations.stop(chat, message)))


class Message(ChatRoute):
    async def delete(self, chat: str, message: str) -> None:
        await self._answer_chat(await self._conversations.drop_messages(chat, message))


def _export(chat: Mapping[str, Any], kind: str) -> str:
    from ..chats import export  # imports nbformat, which takes 0.1 s

    return export.to_markdown(chat) if kind == "markdown" else export.to_notebook(chat)


def _chat_to_json(chat: Mapping[str, Any]) -> dict[str, Any]:
    return {**chat, "messages": [_message_to_json(message) for message in chat["messages"]]}


def _message_to_json(message: Mapping[str, Any]) -> dict[str, Any]:
    content = [
        {"image_url": {"url": part.to_url()}} if isinstance(part, Image) else part for part in message["content"]
    ]
    return {**message, "content": content}
