"""Talk to the model host: requests out, events back, over a unix socket or a loopback port. Standard library only, no IPython."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeAlias, TypeVar

from ...protocol.events import Event, Loading
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ...protocol.wire import chunks_of_sse, events_of_sse
from .connection import PROBE_S, Connection, find_connection, start_host

# the host sends a sign of life every 5 s while it works
SILENCE_S = 120.0
T = TypeVar("T")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class _File:
    data: bytes
    kind: str


Body: TypeAlias = Mapping[str, Any] | _File | None


class Client:
    """A model host that answered a moment ago. Cheap: make a new one for each request."""

    def __init__(self, connection: Connection, timeout: float = SILENCE_S) -> None:
        self._connection, self._timeout = connection, timeout

    @classmethod
    def find(cls, start: bool = True, say: Callable[[str], None] = _say, timeout: float = SILENCE_S) -> Client:
        """The running host of this user; else, if `start`, a new one (which `say` tells). Raises `Failure`."""
        connection = find_connection(patience=min(timeout, PROBE_S))
        if connection is None and start:
            connection = start_host(say)
        if connection is None:
            raise Failure(
                "engine_stopped",
                "No model host is running.",
                "Start JupyterLab with jupyter-mistral installed, or run `jupyter mistral serve`.",
            )
        return cls(connection, timeout)

    @property
    def pid(self) -> int:
        """The process of the host."""
        return self._connection.pid

    def stream_chat(self, request: ChatRequest) -> Iterator[Event]:
        """Events of one answer, the last of them its `End`. Closing the iterator cancels. Raises `Failure`."""
        extras = replace(request.extras, events=True)
        request = replace(request, stream=True, include_usage=True, extras=extras)
        yield from self._stream("/mistral/v1/chat/completions", request.to_dict())

    def load(
        self,
        name: str | None = None,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> Iterator[Loading]:
        """Make a model ready (the default one for None), downloading it only if `download`. Raises `Failure`."""
        wanted: dict[str, Any] = {"model": name, "download": download} | ({"kv": kv} if kv else {})
        wanted |= {} if adapter is None else {"adapter": adapter}
        wanted |= {} if spill is None else {"spill": spill}
        for event in self._stream("/mistral/api/load", wanted):
            if isinstance(event, Loading):
                yield event

    def get(self, path: str) -> Any:
        """The JSON that the host gives for `path`. Raises `Failure`."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that the host answers to `body`. Raises `Failure`."""
        return self._exchange("POST", path, body or {})

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        connection = self._connection.open(self._timeout)
        try:
            with self._response(connection, method, path, body) as response:
                raw = response.read()
            return json.loads(raw) if raw else None
        except (OSError, HTTPException, ValueError) as error:
            raise _gone(error) from error
        finally:
            connection.close()

    def chunks(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The chunks of a stream as they are, for what is more than `Event`s. Closing the iterator leaves. Raises `Failure`."""
        yield from self._lines(method, path, body, chunks_of_sse)

    def upload(self, path: str, data: bytes, kind: str) -> Iterator[dict[str, Any]]:
        """The chunks that come of a file of the media type `kind`. Closing the iterator leaves. Raises `Failure`."""
        yield from self._lines("POST", path, _File(data, kind), chunks_of_sse)

    def _stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._lines("POST", path, body, events_of_sse)

    def _lines(self, method: str, path: str, body: Body, read: Callable[[Iterator[bytes]], Iterator[T]]) -> Iterator[T]:
        connection = self._connection.open(self._timeout)
        try:
            with self._response(connection, method, path, body) as response:
                yield from read(iter(response.readline, b""))
        except (OSError, HTTPException, ValueError) as error:
            raise _gone(error) from error
        finally:
            # a KeyboardInterrupt or a closed iterator comes this way too: the host sees us leave and cancels
            connection.close()

    def _response(self, connection: HTTPConnection, method: str, path: str, body: Body) -> HTTPResponse:
        headers = {"Authorization": f"Bearer {self._connection.token}", "Accept": "application/json, text/event-stream"}
        data = None
        if isinstance(body, _File):
            headers["Content-Type"], data = body.kind, body.data
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise _failure(response)
        return response


def _failure(response: HTTPResponse) -> Failure:
    try:
        error = json.loads(response.read(65536))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        error = None
    if isinstance(error, Mapping):
        return Failure.of_dict(error)
    if response.status in (401, 403):
        return Failure(
            "unauthorized", "The model host did not accept our token.", "Restart the kernel, then ask again."
        )
    return Failure("internal", f"The model host answered {response.status}.", "Its log has the reason.")


def _gone(error: Exception) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure(
            "engine_died", "The model host fell silent.", "`%mistral status` tells how it is; then ask again."
        )
    return Failure("engine_died", "The model host went away.", "Ask again: it is looked for, or started, anew.")
