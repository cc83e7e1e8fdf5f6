"""The model as a persona of jupyter-ai's chat. Only jupyter-ai imports this, by its entry point group `jupyter_ai.personas`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
from jupyter_ai_persona_manager import BasePersona, PersonaDefaults

from .kernel.host.connection import Connection, find_connection
from .protocol.events import Delta, End
from .protocol.failures import Failure
from .protocol.wire import of_chunk

REMEMBERED = 40  # messages of the chat that a question is asked with
_SYSTEM = "You are Mistral, an assistant in a Jupyter chat. Answer briefly and to the point."


class MistralPersona(BasePersona):  # type: ignore[misc]  # jupyter-ai has no types for mypy
    """Asks the model host of this Jupyter server over its unix socket. Nothing leaves the machine."""

    _turn: asyncio.Task[None] | None = None

    @property
    def defaults(self) -> PersonaDefaults:
        return PersonaDefaults(
            name="Mistral",
            description="The private model that this Jupyter server hosts.",
            avatar_path=str(Path(__file__).with_name("persona.svg")),
            system_prompt=_SYSTEM,
        )

    async def process_message(self, message: Any) -> None:
        """Answer in the chat, as the answer comes; a failure is told there in one sentence."""
        self._turn = asyncio.ensure_future(self._answer(message))
        try:
            await self._turn
        except asyncio.CancelledError:
            # cancelled by `cancel_response`, not by whoever waits for us
            if not self._turn.cancelled():
                self._turn.cancel()
                raise
        except Failure as failure:
            self.send_message(str(failure))
        finally:
            self._turn = None

    async def cancel_response(self) -> None:
        """The stop button: the connection closes, and the model stops within a token."""
        if self._turn is not None:
            self._turn.cancel()

    async def _answer(self, message: Any) -> None:
        async with contextlib.aclosing(ask(self._messages(message))) as pieces:
            await self.stream_message(pieces)

    def _messages(self, message: Any) -> list[dict[str, str]]:
        """The chat up to this message, as the model reads it. Other personas speak as people do."""
        before = [
            m for m in self.chat.get_messages() if m.id != message.id and m.time <= message.time and not m.deleted
        ]
        turns = [(m.sender == self.id, m.body) for m in [*before[-REMEMBERED:], message] if m.body.strip()]
        spoken = [{"role": "assistant" if is_mine else "user", "content": body} for is_mine, body in turns]
        return [{"role": "system", "content": self.system_prompt}, *spoken]


async def ask(messages: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """Text of the answer, piece by piece. Leaving early cancels it. Raises `Failure`."""
    found = await asyncio.to_thread(find_connection)
    if found is None:
        raise Failure(
            "engine_stopped",
            "No model host of Jupyter Mistral is running.",
            "Is the extension enabled? `jupyter server extension list` tells.",
        )
    body = {"messages": messages, "stream": True, "mistral": {"client": "jupyter-ai"}}
    try:
        async with contextlib.aclosing(_chunks(found, body)) as chunks:
            async for chunk in chunks:
                event = of_chunk(chunk)
                if isinstance(event, Delta):
                    yield event.text
                if isinstance(event, End):
                    return
    except (httpx.HTTPError, ValueError):
        raise Failure("engine_died", "The model host went away.", "Ask again.") from None
    raise Failure("engine_died", "The answer broke off: the model host went away.", "Ask again.")


async def _chunks(found: Connection, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    transport = httpx.AsyncHTTPTransport(uds=found.socket or None)
    client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(30, read=None), trust_env=False)
    address = ("http://localhost" if found.socket else found.url.rstrip("/")) + "/mistral/v1/chat/completions"
    async with (
        client,
        client.stream("POST", address, json=body, headers={"Authorization": f"Bearer {found.token}"}) as reply,
    ):
        if reply.status_code != 200:
            raise Failure.of_dict(json.loads(await reply.aread())["error"])
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])
