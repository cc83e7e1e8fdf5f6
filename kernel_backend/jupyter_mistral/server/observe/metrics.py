"""Figures for Prometheus, on Jupyter's own /metrics and on /mistral/v1/metrics: requests, tokens, times, queue, memory. No words, no names of users or models."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ...protocol.events import CallPiece, Delta, End, Event, Queued
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest, CompletionRequest
from ...protocol.status import Memory
from ..http.handler import Route, Table
from ..inference.base import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Meter:
    """Counts what an engine does. `start` shows it to Prometheus, `stop` takes it away."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._registry = CollectorRegistry()
        told: dict[str, Any] = {"namespace": "mistral", "registry": self._registry}
        self._requests = Counter("requests", "Requests that ended, and how.", ["kind", "end"], **told)
        self._tokens = Counter("tokens", "Tokens: of prompts, of those the reused, of answers.", ["kind"], **told)
        self._seconds = Histogram("request_seconds", "From request to end.", ["kind"], buckets=SECONDS, **told)
        self._first = Histogram("first_token_seconds", "From request to the first token.", buckets=SECONDS, **told)
        self._queue = Histogram("queue_seconds", "From request to its turn.", buckets=SECONDS, **told)
        self._running = Gauge("requests_running", "Requests that are being answered.", **told)
        self._waiting = Gauge("requests_waiting", "Requests in the queue.", **told)
        self._memory = Gauge("memory_bytes", "On the model's device, as of the last look.", ["kind"], **told)
        self._loaded = Gauge("model_loaded", "Whether a model is in memory, as of the last look.", **told)
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.Task[None] | None = None

    def start(self, engine: Engine) -> None:
        self._engine, self._loop = engine, asyncio.get_running_loop()
        try:
            REGISTRY.register(self)
        except ValueError:
            self._log.warning("mistral: another server of this process shows its figures already; this one's are not")

    def stop(self) -> None:
        with contextlib.suppress(KeyError):
            REGISTRY.unregister(self)
        self._loop = None
        if self._look is not None:
            self._look.cancel()

    def collect(self) -> Iterator[Any]:
        """What Prometheus asks for; memory is looked at meanwhile, for the next time."""
        if self._loop is not None and self._engine is not None:
            self._loop.call_soon_threadsafe(self._begin_look)
        yield from self._registry.collect()

    async def text(self) -> bytes:
        """All of it as Prometheus reads it, memory as of now."""
        if self._engine is not None:
            await self._look_at_memory()
        return generate_latest(self._registry)

    def _begin_look(self) -> None:
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._look_at_memory())

    async def _look_at_memory(self) -> None:
        assert self._engine is not None
        status = await self._engine.status()
        self._loaded.set(status.model is not None)
        memory = status.memory if status.model is not None else Memory()
        for kind in ("weights", "kv", "free", "total"):
            self._memory.labels(kind).set(getattr(memory, kind))

    # ------------------------------------------------------------------------------------------ one request

    async def follow(self, kind: str, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The same events, counted."""
        began, end = time.monotonic(), "left"  # by the client, unless it ends otherwise
        place = _Place(self._waiting, self._running)
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, Queued):
                        place.wait()
                    elif place.run():
                        self._queue.observe(time.monotonic() - began)
                    if isinstance(event, (Delta, CallPiece)) and place.speaks():
                        self._first.observe(time.monotonic() - began)
                    if isinstance(event, End):
                        end = event.reason
                        self._count(event)
                    yield event
        except Failure as failure:
            end = failure.code
            raise
        finally:
            place.leave()
            self._requests.labels(kind, end).inc()
            self._seconds.labels(kind).observe(time.monotonic() - began)
            if self._loop is not None:
                self._begin_look()

    def _count(self, end: End) -> None:
        usage = end.usage
        told = {"prompt": usage.prompt_tokens, "cached": usage.cached_tokens, "completion": usage.completion_tokens}
        for kind, tokens in told.items():
            self._tokens.labels(kind).inc(tokens)


class _Place:
    """Where a request is: nowhere yet, in the queue, or being answered."""

    def __init__(self, waiting: Gauge, running: Gauge) -> None:
        self._gauges = {"waiting": waiting, "running": running}
        self._where = ""
        self._has_spoken = False

    def _go(self, where: str) -> bool:
        if where == self._where:
            return False
        for name, step in ((self._where, -1), (where, 1)):
            if name:
                self._gauges[name].inc(step)
        self._where = where
        return True

    def wait(self) -> None:
        self._go("waiting")

    def run(self) -> bool:
        """Whether its turn has just come."""
        return self._go("running")

    def leave(self) -> None:
        self._go("")

    def speaks(self) -> bool:
        """True once, for the first piece of the answer."""
        had_spoken, self._has_spoken = self._has_spoken, True
        return not had_spoken


def metered(engine: Engine, meter: Meter) -> Engine:
    """The same engine, whose requests are counted."""
    return cast(Engine, _Metered(engine, meter))


class _Metered:
    def __init__(self, engine: Engine, meter: Meter) -> None:
        self._engine, self._meter = engine, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        async with contextlib.aclosing(self._meter.follow("chat", self._engine.stream(request))) as events:
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        async with contextlib.aclosing(self._meter.follow("completion", self._engine.complete(request))) as events:
            async for event in events:
                yield event


class Metrics(Route):
    """The same figures for who has a token of ours: the host without Jupyter has no other address for them."""

    def initialize(self, meter: Meter) -> None:
        self._meter = meter

    async def get(self) -> None:
        text = await self._meter.text()
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


def table(meter: Meter) -> Table:
    return [(r"/mistral/v1/metrics", Metrics, {"meter": meter})]
