"""An engine whose every call is shown to observers: metrics and the audit log. Knows neither."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

from ...protocol.events import Embeddings, Event, Loading
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from ...protocol.status import ModelCard, Status
from ..inference.base import Engine, Target

Notify: TypeAlias = Callable[[Event | Embeddings], None]


@dataclass(frozen=True)
class Call:
    """A call of an engine's method, with the arguments that an observer may look at."""

    method: Literal["stream", "complete", "embed", "load", "unload", "park"]
    request: ChatRequest | CompletionRequest | EmbeddingRequest | None = None
    download: bool = False


@dataclass
class Outcome:
    """How a call ended. left: its client went away, or it broke off. model: the engine's at the end of a call that is done."""

    state: Literal["done", "left", "failed"] = "left"
    failure: Failure | None = None
    model: str = ""


class CallObserver(Protocol):
    """Watches one call. `on_end` is called exactly once."""

    def on_event(self, event: Event | Embeddings) -> None: ...
    async def on_end(self, outcome: Outcome) -> None: ...


class Observer(Protocol):
    """Watches an engine. failure: why it cannot, for the engine's status."""

    @property
    def failure(self) -> Failure | None: ...

    async def on_start(self, call: Call) -> CallObserver | None:
        """Watch a call; None ignores it. Raises `Failure` to refuse the call before it begins."""
        ...


class ObservedEngine:
    """Implements each method of `Engine` itself, so mypy reports a new one that nobody observes.

    The first observer starts first and ends last, so it also sees the refusals of the others.
    """

    def __init__(self, engine: Engine, observers: Sequence[Observer]) -> None:
        self.engine, self.observers = engine, observers

    @contextlib.asynccontextmanager
    async def _observed(self, call: Call) -> AsyncIterator[Notify]:
        outcome, watching = Outcome(), list[CallObserver]()

        def notify(event: Event | Embeddings) -> None:
            for one in watching:
                one.on_event(event)

        async with contextlib.AsyncExitStack() as stack:
            try:
                for observer in self.observers:
                    if (one := await observer.on_start(call)) is not None:
                        watching.append(one)
                        stack.push_async_callback(one.on_end, outcome)
                yield notify
                outcome.state, outcome.model = "done", self.engine.model
            except Failure as failure:
                outcome.state, outcome.failure = "failed", failure
                raise

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        events = self.engine.stream(request)
        async with self._observed(Call("stream", request)) as notify, contextlib.aclosing(events):
            async for event in events:
                notify(event)
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        events = self.engine.complete(request)
        async with self._observed(Call("complete", request)) as notify, contextlib.aclosing(events):
            async for event in events:
                notify(event)
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        async with self._observed(Call("embed", request)) as notify:
            embeddings = await self.engine.embed(request)
            notify(embeddings)
            return embeddings

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        events = self.engine.load(name, download=download, kv=kv, adapter=adapter, spill=spill)
        async with self._observed(Call("load", download=download)) as notify, contextlib.aclosing(events):
            async for event in events:
                notify(event)
                yield event

    async def unload(self) -> None:
        async with self._observed(Call("unload")):
            await self.engine.unload()

    async def park(self) -> None:
        async with self._observed(Call("park")):
            await self.engine.park()

    # ------------------------------------------------------------------------------------------ not observed: they ask the model nothing

    @property
    def model(self) -> str:
        return self.engine.model

    @property
    def is_busy(self) -> bool:
        return self.engine.is_busy

    async def status(self) -> Status:
        """The engine's status; an observer's failure takes precedence over the engine's."""
        status = await self.engine.status()
        failures = [observer.failure for observer in self.observers if observer.failure is not None]
        return replace(status, failure=failures[0].to_dict()) if failures else status

    async def cards(self) -> list[ModelCard]:
        return await self.engine.cards()

    async def rows(self) -> list[dict[str, Any]]:
        return await self.engine.rows()

    async def target(self, name: str | None) -> Target:
        return await self.engine.target(name)

    async def close(self) -> None:
        await self.engine.close()
