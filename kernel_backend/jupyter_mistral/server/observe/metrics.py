"""Metrics for Prometheus, on Jupyter's own /metrics and on /mistral/v1/metrics: counts, times, memory. No text, no names of users or models."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ...protocol.events import CallPiece, Delta, Embeddings, End, Event, Queued
from ...protocol.failures import Failure
from ...protocol.status import Memory
from ..inference.base import Engine
from .observed_engine import Call, CallObserver, Outcome

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
KINDS = {"stream": "chat", "complete": "completion"}


class Metrics:
    """Observes an engine. `start` publishes the metrics, `stop` withdraws them."""

    failure: Failure | None = None

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._registry = CollectorRegistry()
        ours: dict[str, Any] = {"namespace": "mistral", "registry": self._registry}
        timing: dict[str, Any] = {**ours, "buckets": SECONDS}
        self.requests = Counter("requests", "Finished requests by how they ended.", ["kind", "end"], **ours)
        self.tokens = Counter("tokens", "Tokens of prompts, cached prompt tokens, tokens of answers.", ["kind"], **ours)
        self.seconds = Histogram("request_seconds", "Time from request to end.", ["kind"], **timing)
        self.first_token = Histogram("first_token_seconds", "Time from request to first token.", **timing)
        self.queue = Histogram("queue_seconds", "Time from request to its turn.", **timing)
        self.running = Gauge("requests_running", "Requests being answered.", **ours)
        self.waiting = Gauge("requests_waiting", "Requests in the queue.", **ours)
        self._memory = Gauge("memory_bytes", "Memory on the model's device when last checked.", ["kind"], **ours)
        self._loaded = Gauge("model_loaded", "Whether a model was in memory when last checked.", **ours)
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.Task[None] | None = None

    def start(self, engine: Engine) -> None:
        self._engine, self._loop = engine, asyncio.get_running_loop()
        try:
            REGISTRY.register(self)
        except ValueError:
            self._log.warning("mistral: another server in this process publishes its metrics already; these are not")

    def stop(self) -> None:
        with contextlib.suppress(KeyError):
            REGISTRY.unregister(self)
        self._loop = None
        if self._check is not None:
            self._check.cancel()

    def collect(self) -> Iterator[Any]:
        """Prometheus calls this, in any thread; memory is checked meanwhile, for the next time."""
        if self._loop is not None and self._engine is not None:
            self._loop.call_soon_threadsafe(self.check_memory_soon)
        yield from self._registry.collect()

    async def text(self) -> bytes:
        """All metrics in Prometheus' text format, memory as of now."""
        if self._engine is not None:
            await self._check_memory()
        return generate_latest(self._registry)

    def check_memory_soon(self) -> None:
        if self._loop is not None and (self._check is None or self._check.done()):
            self._check = asyncio.ensure_future(self._check_memory())

    async def _check_memory(self) -> None:
        assert self._engine is not None
        status = await self._engine.status()
        self._loaded.set(status.model is not None)
        memory = status.memory if status.model is not None else Memory()
        for kind in ("weights", "kv", "free", "total"):
            self._memory.labels(kind).set(getattr(memory, kind))

    async def on_start(self, call: Call) -> CallObserver | None:
        kind = KINDS.get(call.method)
        return _RequestMetrics(self, kind) if kind is not None else None


class _RequestMetrics:
    """Measures one request, which is nowhere yet, in the queue or being answered."""

    def __init__(self, metrics: Metrics, kind: str) -> None:
        self._metrics, self._kind = metrics, kind
        self._began = time.monotonic()
        self._gauge: Gauge | None = None
        self._has_token = False
        self._end = ""

    def on_event(self, event: Event | Embeddings) -> None:
        metrics = self._metrics
        if isinstance(event, Queued):
            self._move_to(metrics.waiting)
        elif self._move_to(metrics.running):
            metrics.queue.observe(self._elapsed_s())
        if isinstance(event, (Delta, CallPiece)) and not self._has_token:
            self._has_token = True
            metrics.first_token.observe(self._elapsed_s())
        if isinstance(event, End):
            self._end = event.reason
            self._count_tokens(event)

    async def on_end(self, outcome: Outcome) -> None:
        self._move_to(None)
        end = outcome.failure.code if outcome.failure is not None else self._end or "left"
        self._metrics.requests.labels(self._kind, end).inc()
        self._metrics.seconds.labels(self._kind).observe(self._elapsed_s())
        self._metrics.check_memory_soon()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _count_tokens(self, end: End) -> None:
        usage = end.usage
        counts = {"prompt": usage.prompt_tokens, "cached": usage.cached_tokens, "completion": usage.completion_tokens}
        for kind, tokens in counts.items():
            self._metrics.tokens.labels(kind).inc(tokens)

    def _move_to(self, gauge: Gauge | None) -> bool:
        """Count the request in this gauge instead of its present one; False if it is there already."""
        if gauge is self._gauge:
            return False
        if self._gauge is not None:
            self._gauge.dec()
        if gauge is not None:
            gauge.inc()
        self._gauge = gauge
        return True
