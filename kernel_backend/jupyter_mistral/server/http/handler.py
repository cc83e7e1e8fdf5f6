"""Base class of all routes: checks access before it reads the body, parses a bounded JSON body, answers with JSON or a stream, and
reports failures in OpenAI's format. Who has access is decided by a door (`jupyter_auth.py`, `kernel_socket.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import secrets
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tornado import iostream, web

from ...protocol.failures import Failure
from ...protocol.requests import MAX_BODY_BYTES
from ...protocol.wire import DONE, KEEP_ALIVE, read_json, to_sse
from .large_body import LARGE_BYTES, parse_in_child, parser_name

T = TypeVar("T")
log = logging.getLogger("jupyter_mistral")

# a rejected body up to this size is read and dropped, so that the client sees the reason; for a larger one the connection is closed
DRAIN_BYTES = 64 * 2**10
BODY_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 5.0
# how long early headers wait, so that an immediate failure still gets its HTTP status
EARLY_S = 0.1
SEND_TIMEOUT_S = 30.0
# a larger body is parsed in a thread
THREAD_BYTES = 64 * 2**10
RETRY_AFTER_S = 5

_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large"}
_SENTENCES = {
    401: ("You are not logged in.", "Log in to Jupyter, or send its token."),
    403: (
        "Access denied.",
        "Send the request from a page of this Jupyter server, or with a token and the host name localhost.",
    ),
    404: ("There is no such address.", "The README lists the addresses."),
    405: ("This address does not support that method.", "The README lists the addresses."),
    411: ("The request has no Content-Length header.", "Add the header."),
    413: (f"The request is larger than {MAX_BODY_BYTES >> 20} MB.", "Make it smaller."),
    415: (
        "This address does not accept that content type.",
        "Send application/json, or application/pdf to /mistral/api/read.",
    ),
}


def failure_of(error: BaseException | None) -> tuple[int, Failure]:
    """HTTP status and failure for an exception. Other exceptions than ours get a fixed sentence: their texts may quote a notebook."""
    if isinstance(error, Failure):
        return error.status, error
    status = error.status_code if isinstance(error, web.HTTPError) else 500
    if status in _SENTENCES:
        return status, Failure(_CODES.get(status, "bad_request"), *_SENTENCES[status])
    if 400 <= status < 500:
        return status, Failure("bad_request", "The request is malformed.", "The README lists the addresses.")
    return 500, Failure("internal", "Jupyter Mistral failed unexpectedly.", "See the server's log for the cause.")


class Route(web.RequestHandler):
    """A door adds `enter`. Subclasses define `get`, `post` and so on, and call `read_body` and `answer`."""

    request_id = ""
    _body: bytearray
    _refusal: Exception | None = None
    _length = 0
    _pump: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Raise if the client has no access. Runs before the body is read."""
        raise web.HTTPError(403)

    async def prepare(self) -> None:
        self.request_id = secrets.token_hex(8)
        self.set_header("X-Request-Id", self.request_id)
        self._body = bytearray()
        self.request.connection.set_body_timeout(BODY_TIMEOUT_S)  # type: ignore[union-attr]  # every HTTP/1 connection has it
        try:
            self._length = self._content_length()
            await self.enter()  # before the body check: a client without access learns nothing about valid requests
            self._check_body()
        except (Failure, web.HTTPError) as error:
            if not 0 < self._length <= DRAIN_BYTES:
                raise
            self._refusal = error

    def raise_refusal(self) -> None:
        """Called first by every method: raises what `prepare` found, now that the small body has been read."""
        if self._refusal is not None:
            raise self._refusal

    def _content_length(self) -> int:
        """Bytes of the body; -1 if the header is required but missing."""
        header = self.request.headers.get("Content-Length")
        if header is None:
            is_required = "Transfer-Encoding" in self.request.headers or self.request.method in ("POST", "PUT", "PATCH")
            return -1 if is_required else 0
        return int(header) if header.isascii() and header.isdigit() and len(header) < 16 else MAX_BODY_BYTES + 1

    def _check_body(self) -> None:
        if self._length < 0:
            raise web.HTTPError(411)
        if self._length > MAX_BODY_BYTES:
            raise web.HTTPError(413)
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self._length and kind != "application/json":
            raise web.HTTPError(415)

    def data_received(self, chunk: bytes) -> None:
        if self._refusal is None:
            self._body += chunk

    async def read_body(self, parse: Callable[[Any], T]) -> T:
        """Parse the request's JSON; no body means an empty object.

        Large bodies are parsed in a thread, and in a child process if they may contain a notebook of many megabytes.
        """
        parser = parser_name(parse) if len(self._body) >= LARGE_BYTES else None
        if parser is not None:
            request: T = await parse_in_child(self._body, parser)
            return request
        raw = bytes(self._body) or b"{}"
        self._body.clear()
        if len(raw) < THREAD_BYTES:
            return parse(read_json(raw))
        return await asyncio.to_thread(lambda: parse(read_json(raw)))

    # ------------------------------------------------------------------------------------------ answers

    def answer(self, data: Mapping[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))

    async def gather(self, events: AsyncGenerator[T, None], add: Callable[[T], None]) -> None:
        """Run a stream to its end for an answer in one piece. Stops when the client disconnects."""
        await self._run(self._gather(events, add))

    async def _gather(self, events: AsyncGenerator[T, None], add: Callable[[T], None]) -> None:
        async with contextlib.aclosing(events):
            async for event in events:
                add(event)

    async def stream(
        self,
        events: AsyncGenerator[T, None],
        to_chunk: Callable[[T], Mapping[str, Any] | None],
        *,
        is_early: bool = True,
        last: Callable[[], Any] | None = None,
    ) -> None:
        """Send events as server-sent events, ended by [DONE] or by one error chunk.

        to_chunk: the chunk of an event, None to skip it. is_early: send headers at once; otherwise with the first chunk, so that an
        earlier failure has its HTTP status. last: makes one more chunk at the end.
        """
        await self._run(self._stream(events, to_chunk, EARLY_S if is_early else KEEP_ALIVE_S, last))

    async def _run(self, work: Any) -> None:
        # a separate task can be cancelled while the task that serves the request completes
        self._pump = asyncio.ensure_future(work)
        try:
            await self._pump
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and hasattr(task, "cancelling") and task.cancelling():
                self._pump.cancel()
                raise
        except iostream.StreamClosedError:
            pass

    def on_connection_close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()

    async def _stream(
        self,
        events: AsyncGenerator[T, None],
        to_chunk: Callable[[T], Mapping[str, Any] | None],
        timeout: float,
        last: Callable[[], Any] | None,
    ) -> None:
        async with contextlib.aclosing(events):
            try:
                await self._send_chunks(events, to_chunk, timeout)
                if last is not None:
                    await self._send(to_sse(await last()))
                await self._send(DONE)
            except iostream.StreamClosedError:
                raise
            except Exception as error:  # whatever happens, the stream ends in exactly one end
                if not self._headers_written:
                    raise
                self.log_exception(type(error), error, error.__traceback__)
                await self._send(to_sse({"error": self._to_error(failure_of(error)[1])}))
        self.finish()

    async def _send_chunks(
        self, events: AsyncGenerator[T, None], to_chunk: Callable[[T], Mapping[str, Any] | None], timeout: float
    ) -> None:
        """Send all events, and keep-alive comments between them. timeout: until the first of those."""
        pending: asyncio.Task[T] = asyncio.ensure_future(events.__anext__())
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=timeout)
                if not done:
                    timeout = KEEP_ALIVE_S
                    await self._send(KEEP_ALIVE)
                    continue
                chunk = to_chunk(pending.result())
                if chunk is not None:
                    timeout = KEEP_ALIVE_S
                    await self._send(to_sse(chunk))
                pending = asyncio.ensure_future(events.__anext__())
        except StopAsyncIteration:
            return
        finally:
            # also retrieves an event that arrived as the client left; otherwise asyncio logs a warning
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        if not self._headers_written:
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            self.set_header("Cache-Control", "no-cache, no-transform")
            self.set_header("X-Accel-Buffering", "no")  # for an nginx in front
        self.write(data)
        sent = self.flush()
        if not sent.done():
            try:
                await asyncio.wait_for(sent, SEND_TIMEOUT_S)
            except asyncio.TimeoutError:  # a client that does not read must not block the engine
                self.request.connection.close()  # type: ignore[union-attr]  # every HTTP/1 connection has it
                raise iostream.StreamClosedError from None

    # ------------------------------------------------------------------------------------------ failures

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        info = kwargs.get("exc_info") or (None, None, None)
        # tornado answers 500 for a Failure, and a door's guard does not know why `enter` refused
        status, failure = failure_of(self._refusal or info[1] or web.HTTPError(status_code))
        self.set_status(status)
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Content-Type", "application/json")
        if failure.code == "busy":
            self.set_header("Retry-After", str(RETRY_AFTER_S))
        self.finish(json.dumps({"error": self._to_error(failure)}, ensure_ascii=False).encode("utf-8", "replace"))

    def _to_error(self, failure: Failure) -> dict[str, Any]:
        error = {**failure.to_dict(), "request_id": self.request_id}
        home = str(Path.home())
        if len(home) > 1:
            error = {name: v.replace(home, "~") if isinstance(v, str) else v for name, v in error.items()}
        return error

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not isinstance(value, (Failure, web.HTTPError)):
            # without the exception's text, which may quote a notebook
            frames = "".join(traceback.format_tb(tb))
            log.error("request %s failed: %s\n%s", self.request_id, typ.__name__ if typ else "?", frames)


METHODS = ("get", "post", "put", "patch", "delete")
Table = Sequence[tuple[str, type[Route], Mapping[str, Any]]]


def bind(table: Table, door: type[Any]) -> list[tuple[str, type[web.RequestHandler], dict[str, Any]]]:
    """Tornado handlers of a route table behind a door: a class with `enter`, and `guard(name, method)`, which wraps each method."""
    return [(pattern, _behind(door, route), dict(parts)) for pattern, route, parts in table]


def _behind(door: type[Any], route: type[Route]) -> type[web.RequestHandler]:
    defined = {name: getattr(route, name) for name in METHODS}
    methods = {
        name: door.guard(name, _entered(method))
        for name, method in defined.items()
        if method is not getattr(web.RequestHandler, name)
    }
    # the route comes first, so that it overrides the door, except for `enter`
    handler = type(f"{route.__name__}Behind{door.__name__}", (route, door), {"enter": door.enter, **methods})
    return web.stream_request_body(handler)


def _entered(method: Any) -> Any:
    @functools.wraps(method)
    async def inner(self: Route, *args: str) -> None:
        self.raise_refusal()
        await method(self, *args)

    return inner
