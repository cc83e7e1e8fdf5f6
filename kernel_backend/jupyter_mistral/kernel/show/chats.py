"""The user's saved chats, as the side panel shows them: list, read, ask, follow, stop. Knows the host's addresses, no widgets."""

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
class Turn:
    """One stored message. state: done, streaming, interrupted, failed. note: why there is no more of it."""

    id: str
    role: str
    text: str
    state: str = "done"
    pictures: tuple[Image, ...] = ()
    usage: Usage | None = None
    note: str = ""

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Turn:
        content = data.get("content") or []
        usage, failure = data.get("usage"), data.get("failure") or {}
        return cls(
            id=str(data["id"]),
            role=str(data["role"]),
            text="".join(part for part in content if isinstance(part, str)),
            state=str(data.get("state") or "done"),
            pictures=tuple(_picture(part) for part in content if not isinstance(part, str)),
            usage=Usage.of_dict(usage) if usage else None,
            note=str(failure.get("message") or ""),
        )


def _picture(part: Any) -> Image:
    return Image.of_url(str(part["image_url"]["url"]), "A stored picture")


@dataclass(frozen=True)
class Begun:
    """A question was stored: in which chat, and as what."""

    chat: str
    title: str
    question: Turn
    answer: Turn
    saved: bool


@dataclass(frozen=True)
class Saved:
    """Whether the disk has the chat."""

    saved: bool


Told: TypeAlias = Event | Begun | Saved


class Chats:
    """`find` gives a client for each call: the host may have been restarted since the last."""

    def __init__(self, find: Callable[[], Client] = Client.find) -> None:
        self._find = find

    def rows(self) -> list[tuple[str, str]]:
        """(id, title) of each chat, the newest first. Raises `Failure`."""
        return [(str(c["id"]), str(c["title"])) for c in self._find().get(CHATS)["chats"]]

    def read(self, chat: str) -> list[Turn]:
        """Raises `Failure`."""
        return [Turn.of_dict(message) for message in self._find().get(f"{CHATS}/{chat}")["messages"]]

    def ask(
        self,
        chat: str | None,
        text: str,
        variables: Sequence[Mapping[str, str]] = (),
        sampling: Mapping[str, Any] | None = None,
    ) -> Iterator[Told]:
        """`Begun`, then events up to the `End`; chat None starts a new one. Leaving lets the host go on for ten seconds."""
        client = self._find()
        if chat is None:
            chat = str(client.post(CHATS)["id"])
        extras: dict[str, Any] = {"events": True, "client": "widget"}
        if variables:
            extras["variables"] = list(variables)
        body = {**(sampling or {}), "content": [text], "mistral": extras}
        yield from _told(chat, client.chunks("POST", f"{CHATS}/{chat}/ask", body))

    def follow(self, chat: str, message: str) -> Iterator[Told]:
        """An answer that is being written: what there is of it as one piece, then the rest."""
        yield from _told(chat, self._find().chunks("GET", f"{CHATS}/{chat}/messages/{message}/stream"))

    def stop(self, chat: str, message: str) -> None:
        """End an answer; its stream ends with `cancelled`. Raises `Failure`."""
        self._find().post(f"{CHATS}/{chat}/messages/{message}/stop")


def _told(chat: str, chunks: Iterator[dict[str, Any]]) -> Iterator[Told]:
    with closing(chunks) as read:  # type: ignore[type-var]  # a generator, which has close()
        for chunk in read:
            mine = chunk.get("mistral") or {}
            if mine.get("event") == "message":
                question, answer = Turn.of_dict(mine["user"]), Turn.of_dict(mine["assistant"])
                yield Begun(chat, str(mine.get("title") or ""), question, answer, bool(mine.get("saved", True)))
            elif mine.get("event") == "saved":
                yield Saved(bool(mine.get("saved")))
            else:
                event = of_chunk(chunk)
                if event is not None:
                    yield event


def is_stopped(failure: Failure) -> bool:
    """Whether a stream ended because somebody wanted it to."""
    return failure.code == "cancelled"
