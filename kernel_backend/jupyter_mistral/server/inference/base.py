"""The interface of an engine, the options an admin sets for it, and what it needs of a prompt builder. Knows no implementation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ...protocol.conversation import Message
from ...protocol.events import Embeddings, Event, Loading
from ...protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from ...protocol.status import ModelCard, Status
from .turn_queue import MAX_QUEUE

if TYPE_CHECKING:
    from ...context import Built, Note, Plan

Messages: TypeAlias = tuple[Message, ...]


@dataclass(frozen=True)
class Target:
    """The model that a prompt is built for.

    tokenizer: path of its tokenizer.json, None where there is none. render: number of tokens of a whole prompt under the
    model's own chat template, None while the model is not loaded. is_exact: False where `count` only estimates.
    """

    card: ModelCard
    tokenizer: str | None
    count: Callable[[Sequence[str]], Awaitable[list[int]]]
    render: Callable[[Sequence[Message]], Awaitable[int]] | None = None
    is_exact: bool = True


class Prompter(Protocol):
    """Builds the messages of a request, notebook included; implemented and documented by `PromptBuilder`."""

    async def checked(self, request: ChatRequest) -> ChatRequest: ...
    async def prompt(self, request: ChatRequest, target: Target) -> tuple[Messages, tuple[str, ...]]: ...
    async def plan(self, request: ChatRequest, target: Target) -> Plan | None: ...
    async def combine(
        self, request: ChatRequest, target: Target, notes: Sequence[Note], last: bool
    ) -> Built | None: ...
    async def condense(self, request: ChatRequest, target: Target, notes: Sequence[Note]) -> Plan: ...
    async def rebased(self, request: ChatRequest, target: Target) -> Built | None: ...
    def keep(self, request: ChatRequest, target: Target, built: Built) -> None: ...


class Engine(Protocol):
    """Answers requests. A stream ends with one `End` or raises one `Failure`; closing it cancels the request."""

    @property
    def model(self) -> str: ...
    @property
    def is_busy(self) -> bool: ...
    def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]: ...
    def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]: ...
    async def embed(self, request: EmbeddingRequest) -> Embeddings: ...
    def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]: ...
    async def unload(self) -> None: ...
    async def park(self) -> None: ...
    async def status(self) -> Status: ...
    async def cards(self) -> list[ModelCard]: ...
    async def rows(self) -> list[dict[str, Any]]: ...
    async def target(self, name: str | None) -> Target: ...
    async def close(self) -> None: ...


@dataclass(frozen=True)
class StallTimeouts:
    """Seconds without progress after which a worker's stall is reported, and after which the worker is killed.

    Both are extended by the time that prefill takes at `prefill_tokens_per_s`.
    """

    report_s: float = 10.0
    kill_s: float = 60.0
    prefill_tokens_per_s: float = 100.0


@dataclass(frozen=True)
class Options:
    """What an admin may set for a model that runs here. Times in seconds; 0 means never.

    default_model: "" picks one that fits the machine. kv: format of the KV cache. parallel: requests answered at once, 0 for
    as many as the engine supports. spill: layers that do not fit on the GPU stay in host memory. idle_work_after_s: idle time
    after which a changed notebook is prefilled again.
    """

    default_model: str = ""
    context_length: int | None = None
    device: str = "auto"
    idle_unload_s: float = 1800.0
    max_queue: int = MAX_QUEUE
    kv: str = "bf16"
    parallel: int = 0
    spill: bool = False
    max_crashes: int = 3
    crash_window_s: float = 600.0
    stall: StallTimeouts = field(default_factory=StallTimeouts)
    idle_work_after_s: float = 5.0
