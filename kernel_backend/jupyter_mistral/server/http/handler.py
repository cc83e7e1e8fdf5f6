"""What every address of ours does: let in before the body is read, take a bounded JSON body, answer JSON or a stream, tell
failures in OpenAI's shape. Knows nothing of who may come in (that is a door's business) or of engines."""

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

DRAIN = (
    64 * 2**10
)  # a refused body up to this size is read and dropped, so that the client sees why; a larger one is cut off
BODY_S = 30.0
SILENCE_S = 5.0
# a fault that shows at once gets its HTTP status even where headers are wanted early
AT_ONCE_S = 0.1
STUCK_S = 30.0
OFF_LOOP = 64 * 2**10
RETRY_AFTER_S = 5

_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large"}
_SENTENCES = {
    401: ("You are not logged in.", "Log in to Jupyter, or send its token."),
    403: (
        "This is not allowed.",
        "Ask from a page of this Jupyter server, or with a token, and by the host name localhost.",
    ),
    404: ("There is nothing at this address.", "README lists the addresses."),
    405: ("This address does not take that method.", "README lists the addresses."),
    411: ("The request does not say how long it is.", "Send a Content-Length."),
    413: (f"The request is larger than {MAX_BODY_BYTES >> 20} MB.", "Send less."),
    415: (
        "The request is not of the type that this address takes.",
        "Send JSON, or to /mistral/api/read application/pdf.",
    ),
}


def failure_of(error: BaseException | None) -> tuple[int, Failure]:
    """Status and failure for whatever was raised; a fixed sentence for all that is not ours, never its own words."""
    if isinstance(error, Failure):
        return error.status, error
    status = error.status_code if isinstance(error, web.HTTPError) else 500
    if status in _SENTENCES:
        return status, Failure(_CODES.get(status, "bad_request"), *_SENTENCES[status])
    if 400 <= status < 500:
        return status, Failure("bad_request", "The request makes no sense.", "README lists the addresses.")
    return 500, Failure("internal", "Something went wrong in Jupyter Mistral.", "The server's log has the reason.")


class Route(web.RequestHandler):
    """Base of every address. A door adds `enter`; an address defines `get`, `post` and the like, and calls `take` and `answer`."""

    request_id = ""
    _body: bytearray
    _refusal: Exception | None = None
    _length = 0
    _pump: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Raise unless whoever asks may. Runs before the body is read."""
        raise web.HTTPError(403)

    async def prepare(self) -> None:
        self.request_id = secrets.token_hex(8)
        self.set_header("X-Request-Id", self.request_id)
        self._body = bytearray()
        self.request.connection.set_body_timeout(BODY_S)  # type: ignore[union-attr]  # every HTTP/1 connection has it
        try:
            self._length = self._told_length()
            await self.enter()  # first: a stranger learns nothing of what a request must be like
            self._check_body()
        except (Failure, web.HTTPError) as error:
            if not 0 < self._length <= DRAIN:
                raise
            self._refusal = error

    def let_in(self) -> None:
        """First line of every method: what was refused in `prepare` is told once its small body has been read off."""
        if self._refusal is not None:
            raise self._refusal

    def _told_length(self) -> int:
        """Bytes of body, -1 where that is not told but must be."""
        told = self.request.headers.get("Content-Length")
        if told is None:
            must = "Transfer-Encoding" in self.request.headers or self.request.method in ("POST", "PUT", "PATCH")
            return -1 if must else 0
        return int(told) if told.isascii() and told.isdigit() and len(told) < 16 else MAX_BODY_BYTES + 1

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

    async def take(self, parse: Callable[[Any], T]) -> T:
        """The request's JSON, parsed; an absent body is an empty object. Large ones are parsed off the event loop, and what may
        hold a notebook of many megabytes in another process."""
        parser = parser_name(parse) if len(self._body) >= LARGE_BYTES else None
        if parser is not None:
            request: T = await parse_in_child(self._body, parser)
            return request
        raw = bytes(self._body) or b"{}"
        self._body.clear()
        if len(raw) < OFF_LOOP:
            return parse(read_json(raw))
        return await asyncio.to_thread(lambda: parse(read_json(raw)))

    # ------------------------------------------------------------------------------------------ answers

    def answer(self, data: Mapping[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))

    async def gather(self, work: AsyncGenerator[T, None], take: Callable[[T], None]) -> None:
        """Run a stream to its end for an answer in one piece; ends with the client."""
        await self._run(self._gather(work, take))

    async def _gather(self, work: AsyncGenerator[T, None], take: Callable[[T], None]) -> None:
        async with contextlib.aclosing(work) as events:
            async for event in events:
                take(event)

    async def stream(
        self,
        events: AsyncGenerator[T, None],
        to_chunks: Callable[[T], Mapping[str, Any] | None],
        *,
        is_early: bool = True,
        last: Callable[[], Any] | None = None,
    ) -> None:
        """Server-sent events, ended by [DONE] or by one error chunk without it.

        to_chunks: the chunk of an event, None for an event that this client does not get. is_early: whether headers go out at
        once; otherwise with the first chunk, so that a failure before it has its HTTP status. last: one more chunk at the end.
        """
        await self._run(self._stream(events, to_chunks, AT_ONCE_S if is_early else SILENCE_S, last))

    async def _run(self, work: Any) -> None:
        # a task of its own: the one that serves the request must live to the end of it
        self._pump = asyncio.ensure_future(work)
        try:
            await self._pump
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and hasattr(me, "cancelling") and me.cancelling():
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
        to_chunks: Callable[[T], Mapping[str, Any] | None],
        patience: float,
        last: Callable[[], Any] | None,
    ) -> None:
        async with contextlib.aclosing(events):
            pending: asyncio.Task[T] = asyncio.ensure_future(events.__anext__())
            try:
                while True:
                    done, _ = await asyncio.wait({pending}, timeout=patience)
                    if not done:
                        patience = SILENCE_S
                        await self._send(KEEP_ALIVE)
                        continue
                    chunk = to_chunks(pending.result())
                    if chunk is not None:
                        patience = SILENCE_S
                        await self._send(to_sse(chunk))
                    pending = asyncio.ensure_future(events.__anext__())
            except StopAsyncIteration:
                if last is not None:
                    await self._send(to_sse(await last()))
                await self._send(DONE)
            except iostream.StreamClosedError:
                raise
            except Exception as error:  # the edge: whatever happened, the stream ends in exactly one end
                if not self._headers_written:
                    raise
                self.log_exception(type(error), error, error.__traceback__)
                await self._send(to_sse({"error": self._told(failure_of(error)[1])}))
            finally:
                # a step that ended just as the client left is fetched too, else asyncio complains of it in the log
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)
        self.finish()

    async def _send(self, data: bytes) -> None:
        if not self._headers_written:
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            self.set_header("Cache-Control", "no-cache, no-transform")
            self.set_header("X-Accel-Buffering", "no")  # nginx in front: do not buffer
        self.write(data)
        sent = self.flush()
        if not sent.done():
            try:
                await asyncio.wait_for(sent, STUCK_S)
            except asyncio.TimeoutError:  # a reader that never reads holds the engine no longer
                self.request.connection.close()  # type: ignore[union-attr]  # every HTTP/1 connection has it
                raise iostream.StreamClosedError from None

    # ------------------------------------------------------------------------------------------ failures

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        info = kwargs.get("exc_info") or (None, None, None)
        # tornado takes a Failure for a fault of ours and says 500; a door's guard has no words for what `enter` refused
        status, failure = failure_of(self._refusal or info[1] or web.HTTPError(status_code))
        self.set_status(status)
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Content-Type", "application/json")
        if failure.code == "busy":
            self.set_header("Retry-After", str(RETRY_AFTER_S))
        self.finish(json.dumps({"error": self._told(failure)}, ensure_ascii=False).encode("utf-8", "replace"))

    def _told(self, failure: Failure) -> dict[str, Any]:
        home = str(Path.home())
        hidden = {
            k: v.replace(home, "~") if isinstance(v, str) and len(home) > 1 else v for k, v in failure.to_dict().items()
        }
        return {**hidden, "request_id": self.request_id}

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not isinstance(value, (Failure, web.HTTPError)):
            # where, but not what: the words of an exception may quote a notebook
            where = "".join(traceback.format_tb(tb))
            log.error("request %s failed: %s\n%s", self.request_id, typ.__name__ if typ else "?", where)


METHODS = ("get", "post", "put", "patch", "delete")
Table = Sequence[tuple[str, type[Route], Mapping[str, Any]]]


def bind(table: Table, door: type[Any]) -> list[tuple[str, type[web.RequestHandler], dict[str, Any]]]:
    """The handlers of a table behind a door: a handler class with `enter`, and `guard(name, method)` that wraps each method."""
    return [(pattern, _behind(door, route), dict(parts)) for pattern, route, parts in table]


def _behind(door: type[Any], route: type[Route]) -> type[web.RequestHandler]:
    own = {name: getattr(route, name) for name in METHODS}
    methods = {
        name: door.guard(name, _entered(method))
        for name, method in own.items()
        if method is not getattr(web.RequestHandler, name)
    }
    # the address first, so that its answers and failures win; the door is asked by name
    made = type(f"{route.__name__}Behind{door.__name__}", (route, door), {"enter": door.enter, **methods})
    return web.stream_request_body(made)


def _entered(method: Any) -> Any:
    @functools.wraps(method)
    async def inner(self: Route, *args: str) -> None:
        self.let_in()
        await method(self, *args)

    return inner
