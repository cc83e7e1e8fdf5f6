"""Talks to the model host over a unix socket or a loopback port: requests out, events back. Standard library only, no IPython."""

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
from .connection import PROBE_TIMEOUT_S, Connection, find_connection, start_host

# the host sends a keep-alive every 5 s while it works
READ_TIMEOUT_S = 120.0
T = TypeVar("T")


def _print_to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class _FileBody:
    data: bytes
    media_type: str


Body: TypeAlias = Mapping[str, Any] | _FileBody | None


class Client:
    """A connection to a running model host. It is cheap: make a new one for each request."""

    def __init__(self, connection: Connection, timeout: float = READ_TIMEOUT_S) -> None:
        self._connection, self._timeout = connection, timeout

    @classmethod
    def find(
        cls, start: bool = True, say: Callable[[str], None] = _print_to_stderr, timeout: float = READ_TIMEOUT_S
    ) -> Client:
        """Find the user's running host; otherwise, if `start`, start one and announce it with `say`. Raises `Failure`."""
        connection = find_connection(timeout=min(timeout, PROBE_TIMEOUT_S))
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
        """The host's process id."""
        return self._connection.pid

    def stream_chat(self, request: ChatRequest) -> Iterator[Event]:
        """Stream the events of one answer; the last is its `End`. Closing the iterator cancels. Raises `Failure`."""
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
        """Load a model (None: the default one), downloading it only if `download`. Raises `Failure`."""
        body: dict[str, Any] = {"model": name, "download": download} | ({"kv": kv} if kv else {})
        body |= {} if adapter is None else {"adapter": adapter}
        body |= {} if spill is None else {"spill": spill}
        for event in self._stream("/mistral/api/load", body):
            if isinstance(event, Loading):
                yield event

    def get(self, path: str) -> Any:
        """GET `path` and return its JSON. Raises `Failure`."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST `body` to `path` and return the JSON of the response. Raises `Failure`."""
        return self._exchange("POST", path, body or {})

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        connection = self._connection.open(self._timeout)
        try:
            with self._response(connection, method, path, body) as response:
                raw = response.read()
            return json.loads(raw) if raw else None
        except (OSError, HTTPException, ValueError) as error:
            raise _connection_failure(error) from error
        finally:
            connection.close()

    def chunks(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Stream raw chunks, for streams with more than `Event`s. Closing the iterator disconnects. Raises `Failure`."""
        yield from self._lines(method, path, body, chunks_of_sse)

    def upload(self, path: str, data: bytes, media_type: str) -> Iterator[dict[str, Any]]:
        """POST a file and stream the chunks of the response. Closing the iterator disconnects. Raises `Failure`."""
        yield from self._lines("POST", path, _FileBody(data, media_type), chunks_of_sse)

    def _stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._lines("POST", path, body, events_of_sse)

    def _lines(self, method: str, path: str, body: Body, read: Callable[[Iterator[bytes]], Iterator[T]]) -> Iterator[T]:
        connection = self._connection.open(self._timeout)
        try:
            with self._response(connection, method, path, body) as response:
                yield from read(iter(response.readline, b""))
        except (OSError, HTTPException, ValueError) as error:
            raise _connection_failure(error) from error
        finally:
            # a KeyboardInterrupt and a closed iterator end here too: the host sees the disconnect and cancels
            connection.close()

    def _response(self, connection: HTTPConnection, method: str, path: str, body: Body) -> HTTPResponse:
        headers = {"Authorization": f"Bearer {self._connection.token}", "Accept": "application/json, text/event-stream"}
        data = None
        if isinstance(body, _FileBody):
            headers["Content-Type"], data = body.media_type, body.data
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise _failure_of(response)
        return response


def _failure_of(response: HTTPResponse) -> Failure:
    try:
        error = json.loads(response.read(65536))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        error = None
    if isinstance(error, Mapping):
        return Failure.of_dict(error)
    if response.status in (401, 403):
        return Failure(
            "unauthorized", "The model host rejected this kernel's token.", "Restart the kernel, then try again."
        )
    return Failure(
        "internal", f"The model host answered with HTTP status {response.status}.", "See its log for the reason."
    )


def _connection_failure(error: Exception) -> Failure:
    if isinstance(error, TimeoutError):
        todo = "Check `%mistral status`, then try again."
        return Failure("engine_died", "The model host stopped responding.", todo)
    todo = "Try again; the host is restarted if needed."
    return Failure("engine_died", "The connection to the model host was lost.", todo)
