"""Chats: ask, follow, stop, edit, delete. Connects history and engine; knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...protocol.conversation import MAX_MESSAGES, Message
from ...protocol.failures import Failure
from ...protocol.images import MAX_IMAGES, Image
from ...protocol.requests import Ask, ChatRequest
from ..inference.base import Engine
from .queries import Content, new_id
from .running_answer import GRACE_S, RunningAnswer
from .store import History

MAX_TITLE = 200
MAX_PATH = 1000
MAX_IMAGE_BYTES = 64 * 2**20  # in one chat
# short and constant, so that all chats share its prefix cache
SYSTEM = (
    "You are the assistant inside a Jupyter notebook. Answer briefly and correctly, in the user's language. "
    "Put code into fenced blocks that name the language."
)


@dataclass(frozen=True)
class Exchange:
    """An accepted question: its running answer, both messages and the chat's title as stored."""

    answer: RunningAnswer
    user: dict[str, Any]
    assistant: dict[str, Any]
    title: str


class Conversations:
    """One user's chats and running answers."""

    def __init__(self, history: History, engine: Engine, grace_s: float = GRACE_S) -> None:
        self.history, self._engine, self._grace_s = history, engine, grace_s
        self._answers: dict[str, RunningAnswer] = {}
        self._asking: set[str] = set()

    @property
    def model(self) -> str:
        return self._engine.model

    async def close(self) -> None:
        """Stop and store all running answers, then close the history."""
        await asyncio.gather(*(answer.stop() for answer in list(self._answers.values())))
        await self.history.close()

    async def create(self, title: str = "", notebook: str | None = None) -> dict[str, Any]:
        return await self.history.chat(await self.history.create(title.strip(), notebook))

    async def rename(self, chat: str, title: str) -> dict[str, Any]:
        if not title.strip():
            raise Failure("bad_request", "The title is empty.", "Enter one.", "title")
        await self.history.rename(chat, title.strip())
        return await self.history.chat(chat)

    async def delete(self, chat: str) -> None:
        await self._stop_where(lambda answer: answer.chat == chat)
        await self.history.delete(chat)

    async def drop_messages(self, chat: str, first: str) -> dict[str, Any]:
        """Remove message `first` and all later ones; stops a running answer."""
        await self._stop_where(lambda answer: answer.chat == chat)
        await self.history.drop_messages(chat, first)
        return await self.history.chat(chat)

    async def ask(self, chat: str, ask: Ask) -> Exchange:
        """Store the question, then start the answer. Raises `busy` while the chat is being answered."""
        if chat in self._asking:
            raise Failure(
                "busy", "This chat is still being answered.", "Wait for the answer, stop it, or use another chat."
            )
        self._asking.add(chat)
        try:
            return await self._ask(chat, ask)
        finally:
            self._asking.discard(chat)

    def answer(self, chat: str, message: str) -> RunningAnswer:
        """The running answer with this message id. Raises `not_found` once it has ended."""
        answer = self._answers.get(message)
        if answer is None or answer.chat != chat:
            raise Failure("not_found", "This answer is no longer running.", "Reload the chat.", message)
        return answer

    async def stop(self, chat: str, message: str) -> dict[str, Any]:
        """Stop an answer, unless it has ended, and return its message as stored."""
        await self._stop_where(lambda answer: answer.chat == chat and answer.message == message)
        for stored in (await self.history.chat(chat))["messages"]:
            if stored["id"] == message:
                return dict(stored)
        raise Failure("not_found", "This message no longer exists.", "Reload the chat.", message)

    async def _stop_where(self, is_affected: Callable[[RunningAnswer], bool]) -> None:
        answers = [answer for answer in self._answers.values() if is_affected(answer)]
        await asyncio.gather(*(answer.stop() for answer in answers))

    async def _ask(self, chat: str, ask: Ask) -> Exchange:
        stored = await self.history.chat(chat)
        earlier, question, replaced = _before(stored["messages"], ask)
        _refuse_too_large(earlier, question)
        now = time.time()
        assistant = _message("assistant", (), "streaming", now)
        if replaced == "assistant":  # the question stays
            user, new = stored["messages"][len(earlier)], None
        else:
            user = _message("user", question, "done", now)
            new = (user["id"], question)
        await self.history.add_turn(chat, new, assistant["id"], now, ask.replaces, title_of(question))
        answer = self._start_answer(chat, assistant["id"], _request(earlier, question, ask))
        return Exchange(answer, user, assistant, stored["title"] or title_of(question))

    def _start_answer(self, chat: str, message: str, request: ChatRequest) -> RunningAnswer:
        answer = RunningAnswer(chat, message, request, self._engine, self.history, self._forget, self._grace_s)
        self._answers[message] = answer
        return answer

    def _forget(self, answer: RunningAnswer) -> None:
        del self._answers[answer.message]


def _refuse_too_large(earlier: Sequence[Mapping[str, Any]], question: Content) -> None:
    if len(earlier) + 2 > MAX_MESSAGES:
        raise Failure("too_large", f"This chat has {len(earlier)} messages.", "Start a new one.")
    contents = [*(message["content"] for message in earlier), question]
    if sum(len(part.data) for content in contents for part in content if isinstance(part, Image)) > MAX_IMAGE_BYTES:
        raise Failure("too_large", f"This chat has more than {MAX_IMAGE_BYTES >> 20} MB of images.", "Start a new one.")


def _request(earlier: Sequence[Mapping[str, Any]], question: Content, ask: Ask) -> ChatRequest:
    turns = [(message["role"], message["content"]) for message in earlier]
    return ChatRequest(
        messages=to_engine([*turns, ("user", question)]),
        sampling=ask.sampling,
        form=ask.form,
        model=ask.model,
        stream=True,
        include_usage=True,
        extras=ask.extras,
    )


def title_of(question: Content) -> str:
    """The first line of the first question, up to 60 characters of whole words."""
    text = " ".join(part for part in question if isinstance(part, str)).strip()
    line = " ".join((text.splitlines() or ["Image"])[0].split())
    if len(line) <= 60:
        return line
    return f"{line[:60].rsplit(' ', 1)[0]}…"


def _message(role: str, content: Content, state: str, now: float) -> dict[str, Any]:
    return {"id": new_id(), "role": role, "content": list(content), "state": state, "usage": None, "created": now}


def _before(messages: Sequence[dict[str, Any]], ask: Ask) -> tuple[list[dict[str, Any]], Content, str | None]:
    """Returns the messages before the question, the question, and the role of the replaced message or None."""
    if ask.replaces is None:
        return list(messages), ask.content, None
    index = next((i for i, m in enumerate(messages) if m["id"] == ask.replaces), None)
    if index is None:
        raise Failure("not_found", "The message to replace no longer exists.", "Reload the chat.", "replaces")
    if messages[index]["role"] == "user":
        question = ask.content or tuple(messages[index]["content"])
        return list(messages[:index]), question, "user"
    if ask.content or not index or messages[index - 1]["role"] != "user":
        raise Failure(
            "bad_request",
            "An answer can only be regenerated for its own question.",
            "Leave content empty, or replace the question.",
            "content",
        )
    return list(messages[: index - 1]), tuple(messages[index - 1]["content"]), "assistant"


def to_engine(turns: Sequence[tuple[str, Sequence[str | Image]]]) -> tuple[Message, ...]:
    """The conversation for an engine: roles alternate, and only the latest `MAX_IMAGES` images are sent.

    A question without an answer is merged with the next one.
    """
    merged: list[tuple[str, list[str | Image]]] = [("system", [SYSTEM])]
    for role, content in turns:
        if not any(isinstance(part, Image) or part.strip() for part in content):
            continue
        if merged[-1][0] == role:
            merged[-1][1].extend(["\n\n", *content])
        else:
            merged.append((role, list(content)))
    room = MAX_IMAGES
    for _, parts in reversed(merged):
        for i in reversed(range(len(parts))):
            if isinstance(parts[i], Image):
                room -= 1
                if room < 0:
                    parts[i] = "[an earlier picture]"
    return tuple(Message(role, tuple(parts)) for role, parts in merged)  # type: ignore[arg-type]  # roles of messages
