"""What can be done with chats: ask, follow, stop, edit, search. Joins history and engine; knows no HTTP."""

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
from .running_answer import GRACE_S, Answer, Engine
from .sqlite import Content, new_id
from .store import History

MAX_TITLE = 200
MAX_PATH = 1000
MAX_PICTURES = 64 * 2**20  # bytes in one chat
# short and never changed, so that the prefix memory holds across chats
SYSTEM = (
    "You are the assistant inside a Jupyter notebook. Answer briefly and correctly, in the user's language. "
    "Put code into fenced blocks that name the language."
)


@dataclass(frozen=True)
class Asked:
    """A question that was taken: the answer to follow, both messages and the chat's title as stored."""

    answer: Answer
    user: dict[str, Any]
    assistant: dict[str, Any]
    title: str


class Conversations:
    """One user's chats and the answers being written."""

    def __init__(self, history: History, engine: Engine, grace_s: float = GRACE_S) -> None:
        self.history, self._engine, self._grace_s = history, engine, grace_s
        self._answers: dict[str, Answer] = {}
        self._asking: set[str] = set()

    @property
    def model(self) -> str:
        return self._engine.model

    async def close(self) -> None:
        """Stops every answer, stores what there is of it, closes the history."""
        await asyncio.gather(*(answer.stop() for answer in list(self._answers.values())))
        await self.history.close()

    async def create(self, title: str = "", notebook: str | None = None) -> dict[str, Any]:
        return await self.history.chat(await self.history.create(title.strip(), notebook))

    async def rename(self, chat: str, title: str) -> dict[str, Any]:
        if not title.strip():
            raise Failure("bad_request", "The title is empty.", "Write one.", "title")
        await self.history.rename(chat, title.strip())
        return await self.history.chat(chat)

    async def delete(self, chat: str) -> None:
        await self._stop_where(lambda answer: answer.chat == chat)
        await self.history.delete(chat)

    async def drop_messages(self, chat: str, first: str) -> dict[str, Any]:
        """Remove message `first` and what follows; an answer being written is stopped."""
        await self._stop_where(lambda answer: answer.chat == chat)
        await self.history.drop_messages(chat, first)
        return await self.history.chat(chat)

    async def ask(self, chat: str, ask: Ask) -> Asked:
        """Store the question, then begin the answer. Raises `busy` while the chat is answering."""
        if chat in self._asking:
            raise Failure(
                "busy", "This chat is still answering.", "Wait for the answer, stop it, or ask in another chat."
            )
        self._asking.add(chat)
        try:
            return await self._ask(chat, ask)
        finally:
            self._asking.discard(chat)

    def answer(self, chat: str, message: str) -> Answer:
        """The answer being written as `message`. Raises `not_found` when it has ended."""
        answer = self._answers.get(message)
        if answer is None or answer.chat != chat:
            raise Failure("not_found", "This answer is not being written here.", "Reload the chat.", message)
        return answer

    async def stop(self, chat: str, message: str) -> dict[str, Any]:
        """The message as it was kept; one that has ended already stays as it is."""
        await self._stop_where(lambda answer: answer.chat == chat and answer.message == message)
        found = await self.history.chat(chat)
        for kept in found["messages"]:
            if kept["id"] == message:
                return dict(kept)
        raise Failure("not_found", "This message is gone.", "Reload the chat.", message)

    async def _stop_where(self, is_meant: Callable[[Answer], bool]) -> None:
        meant = [answer for answer in self._answers.values() if is_meant(answer)]
        await asyncio.gather(*(answer.stop() for answer in meant))

    async def _ask(self, chat: str, ask: Ask) -> Asked:
        found = await self.history.chat(chat)
        kept, question, replaced = _before(found["messages"], ask)
        if len(kept) + 2 > MAX_MESSAGES:
            raise Failure("too_large", f"This chat has {len(kept)} messages.", "Start a new one.")
        if _bytes([*kept, {"content": question}]) > MAX_PICTURES:
            raise Failure(
                "too_large", f"This chat holds more than {MAX_PICTURES >> 20} MB of pictures.", "Start a new one."
            )
        now = time.time()
        assistant = _message("assistant", (), "streaming", now)
        if replaced == "assistant":  # the question stays
            user = found["messages"][len(kept)]
            stored = None
        else:
            user = _message("user", question, "done", now)
            stored = (user["id"], question)
        await self.history.add_turn(chat, stored, assistant["id"], now, ask.replaces, title_of(question))
        request = ChatRequest(
            messages=to_engine([*((m["role"], m["content"]) for m in kept), ("user", question)]),
            sampling=ask.sampling,
            form=ask.form,
            model=ask.model,
            stream=True,
            include_usage=True,
            extras=ask.extras,
        )
        message = assistant["id"]
        answer = Answer(chat, message, request, self._engine, self.history, self._forget, self._grace_s)
        self._answers[message] = answer
        return Asked(answer, user, assistant, found["title"] or title_of(question))

    def _forget(self, answer: Answer) -> None:
        del self._answers[answer.message]


def _bytes(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(part.data) for m in messages for part in m["content"] if isinstance(part, Image))


def title_of(question: Content) -> str:
    """The first line of the first question, cut between words at 60 characters."""
    text = " ".join(part for part in question if isinstance(part, str)).strip()
    line = " ".join((text.splitlines() or ["Picture"])[0].split())
    if len(line) <= 60:
        return line
    return f"{line[:60].rsplit(' ', 1)[0]}…"


def _message(role: str, content: Content, state: str, now: float) -> dict[str, Any]:
    return {"id": new_id(), "role": role, "content": list(content), "state": state, "usage": None, "created": now}


def _before(messages: Sequence[dict[str, Any]], ask: Ask) -> tuple[list[dict[str, Any]], Content, str | None]:
    """(messages that stay before the question, the question, role of the replaced message or None)."""
    if ask.replaces is None:
        return list(messages), ask.content, None
    place = next((i for i, m in enumerate(messages) if m["id"] == ask.replaces), None)
    if place is None:
        raise Failure("not_found", "The message to replace is gone.", "Reload the chat.", "replaces")
    if messages[place]["role"] == "user":
        question = ask.content or tuple(messages[place]["content"])
        return list(messages[:place]), question, "user"
    if ask.content or not place or messages[place - 1]["role"] != "user":
        raise Failure(
            "bad_request",
            "An answer is written again without a new question.",
            "Leave content empty, or replace the question.",
            "content",
        )
    return list(messages[: place - 1]), tuple(messages[place - 1]["content"]), "assistant"


def to_engine(turns: Sequence[tuple[str, Sequence[str | Image]]]) -> tuple[Message, ...]:
    """The conversation as an engine wants it: roles take turns, and at most `MAX_IMAGES` pictures, the latest.

    A question that got no answer is read together with the next one.
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
