"""The model as a persona in jupyter-ai's chat. Only jupyter-ai imports this, through the entry point `jupyter_ai.personas`."""

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

MAX_MESSAGES = 40  # previous messages to send with a question
_SYSTEM = "You are Mistral, an assistant in a Jupyter chat. Answer briefly and to the point."


class MistralPersona(BasePersona):  # type: ignore[misc]  # jupyter-ai has no types for mypy
    """Sends questions to this Jupyter server's model host, over its unix socket. Nothing leaves the machine."""

    _turn: asyncio.Task[None] | None = None

    @property
    def defaults(self) -> PersonaDefaults:
        return PersonaDefaults(
            name="Mistral",
            description="A private model that runs on this Jupyter server.",
            avatar_path=str(Path(__file__).with_name("persona.svg")),
            system_prompt=_SYSTEM,
        )

    async def process_message(self, message: Any) -> None:
        """Stream the answer into the chat. A failure appears there as one sentence."""
        self._turn = asyncio.ensure_future(self._answer(message))
        try:
            await self._turn
        except asyncio.CancelledError:
            # the caller was cancelled, not just the answer by `cancel_response`
            if not self._turn.cancelled():
                self._turn.cancel()
                raise
        except Failure as failure:
            self.send_message(str(failure))
        finally:
            self._turn = None

    async def cancel_response(self) -> None:
        """The stop button: closing the connection stops the model within one token."""
        if self._turn is not None:
            self._turn.cancel()

    async def _answer(self, message: Any) -> None:
        async with contextlib.aclosing(ask(self._messages(message))) as stream:
            await self.stream_message(stream)

    def _messages(self, message: Any) -> list[dict[str, str]]:
        """The chat up to this message, for the model. Messages of other personas count as the user's."""
        earlier = [
            m for m in self.chat.get_messages() if m.id != message.id and m.time <= message.time and not m.deleted
        ]
        turns = [
            {"role": "assistant" if m.sender == self.id else "user", "content": m.body}
            for m in [*earlier[-MAX_MESSAGES:], message]
            if m.body.strip()
        ]
        return [{"role": "system", "content": self.system_prompt}, *turns]


async def ask(messages: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """Stream the text of the answer. Closing the generator cancels the answer. Raises `Failure`."""
    connection = await asyncio.to_thread(find_connection)
    if connection is None:
        raise Failure(
            "engine_stopped",
            "No model host of Jupyter Mistral is running.",
            "Check that the extension is enabled: `jupyter server extension list`.",
        )
    body = {"messages": messages, "stream": True, "mistral": {"client": "jupyter-ai"}}
    try:
        async with contextlib.aclosing(_chunks(connection, body)) as chunks:
            async for chunk in chunks:
                event = of_chunk(chunk)
                if isinstance(event, Delta):
                    yield event.text
                if isinstance(event, End):
                    return
    except (httpx.HTTPError, ValueError):
        raise Failure("engine_died", "The connection to the model host was lost.", "Try again.") from None
    raise Failure("engine_died", "The connection to the model host was lost during the answer.", "Try again.")


async def _chunks(connection: Connection, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    transport = httpx.AsyncHTTPTransport(uds=connection.socket or None)
    client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(30, read=None), trust_env=False)
    address = ("http://localhost" if connection.socket else connection.url.rstrip("/")) + "/mistral/v1/chat/completions"
    async with (
        client,
        client.stream("POST", address, json=body, headers={"Authorization": f"Bearer {connection.token}"}) as reply,
    ):
        if reply.status_code != 200:
            raise Failure.of_dict(json.loads(await reply.aread())["error"])
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])
