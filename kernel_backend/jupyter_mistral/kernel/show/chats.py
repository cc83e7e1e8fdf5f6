"""The user's saved chats, shared with the side panel: list, read, ask, follow, stop. Knows the host's routes, no widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...protocol.events import Event, Usage
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.wire import of_chunk
from ..host.client import Client

CHATS = "/mistral/api/chats"


@dataclass(frozen=True)
class ChatMessage:
    """One stored message. state: done, streaming, interrupted, failed. note: why the answer is incomplete."""

    id: str
    role: str
    text: str
    state: str = "done"
    images: tuple[Image, ...] = ()
    usage: Usage | None = None
    note: str = ""

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> ChatMessage:
        content = data.get("content") or []
        usage, failure = data.get("usage"), data.get("failure") or {}
        return cls(
            id=str(data["id"]),
            role=str(data["role"]),
            text="".join(part for part in content if isinstance(part, str)),
            state=str(data.get("state") or "done"),
            images=tuple(_image(part) for part in content if not isinstance(part, str)),
            usage=Usage.of_dict(usage) if usage else None,
            note=str(failure.get("message") or ""),
        )


def _image(part: Any) -> Image:
    return Image.of_url(str(part["image_url"]["url"]), "A stored image")


@dataclass(frozen=True)
class AnswerStarted:
    """The host stored the question and started the answer. is_saved: whether both are on disk."""

    chat: str
    title: str
    question: ChatMessage
    answer: ChatMessage
    is_saved: bool


@dataclass(frozen=True)
class SaveState:
    """Whether the chat is saved on disk."""

    is_saved: bool


ChatEvent: TypeAlias = Event | AnswerStarted | SaveState


class Chats:
    """The chats of the host. `find` makes a client for each call, since the host may have been restarted in between."""

    def __init__(self, find: Callable[[], Client] = Client.find) -> None:
        self._find = find

    def list_titles(self) -> list[tuple[str, str]]:
        """(id, title) of each chat, the newest first. Raises `Failure`."""
        return [(str(chat["id"]), str(chat["title"])) for chat in self._find().get(CHATS)["chats"]]

    def read(self, chat: str) -> list[ChatMessage]:
        """The messages of a chat. Raises `Failure`."""
        return [ChatMessage.of_dict(message) for message in self._find().get(f"{CHATS}/{chat}")["messages"]]

    def ask(
        self,
        chat: str | None,
        text: str,
        variables: Sequence[Mapping[str, str]] = (),
        sampling: Mapping[str, Any] | None = None,
    ) -> Iterator[ChatEvent]:
        """Stream `AnswerStarted`, then events up to the `End`. chat: None starts a new one.

        After a disconnect, the host continues for ten seconds.
        """
        client = self._find()
        if chat is None:
            chat = str(client.post(CHATS)["id"])
        extras: dict[str, Any] = {"events": True, "client": "widget"}
        if variables:
            extras["variables"] = list(variables)
        body = {**(sampling or {}), "content": [text], "mistral": extras}
        yield from _to_events(chat, client.chunks("POST", f"{CHATS}/{chat}/ask", body))

    def follow(self, chat: str, message: str) -> Iterator[ChatEvent]:
        """Stream an answer that is being generated: the text so far as one piece, then the rest."""
        yield from _to_events(chat, self._find().chunks("GET", f"{CHATS}/{chat}/messages/{message}/stream"))

    def stop(self, chat: str, message: str) -> None:
        """Stop an answer; its stream ends with `cancelled`. Raises `Failure`."""
        self._find().post(f"{CHATS}/{chat}/messages/{message}/stop")


def _to_events(chat: str, chunks: Iterator[dict[str, Any]]) -> Iterator[ChatEvent]:
    with closing(chunks) as stream:  # type: ignore[type-var]  # a generator, which has close()
        for chunk in stream:
            extension = chunk.get("mistral") or {}
            if extension.get("event") == "message":
                question, answer = (ChatMessage.of_dict(extension[role]) for role in ("user", "assistant"))
                title, is_saved = str(extension.get("title") or ""), bool(extension.get("saved", True))
                yield AnswerStarted(chat, title, question, answer, is_saved)
            elif extension.get("event") == "saved":
                yield SaveState(bool(extension.get("saved")))
            else:
                event = of_chunk(chunk)
                if event is not None:
                    yield event


def is_stopped(failure: Failure) -> bool:
    """Whether a stream ended because the user stopped it."""
    return failure.code == "cancelled"
