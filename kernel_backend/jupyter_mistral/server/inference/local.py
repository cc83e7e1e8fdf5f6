"""The engine on this machine: gives each request its turn at one worker process, which it loads on demand. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from ...protocol.conversation import Message
from ...protocol.events import Embeddings, Event, Loading, Queued
from ...protocol.failures import Failure
from ...protocol.requests import Calling, ChatRequest, CompletionRequest, EmbeddingRequest, Form, Sampling
from ...protocol.status import ModelCard, Status
from ..http.identity import token_holder
from . import disk_models
from .base import Options, Prompter, Target
from .idle_work import IdleTimer, IdleWork
from .loading import ModelLoader
from .prefix_salt import PrefixSalts
from .read_in_parts import answered
from .status import StatusReport
from .turn_queue import TurnQueue
from .worker import Worker
from .worker_process import ENGINE, Launch
from .worker_slot import WorkerSlot
from .worker_stream import events_of, to_complete, to_generate

Ask: TypeAlias = Callable[[Worker], AsyncGenerator[Event, None]]


class LocalEngine:
    """At most one worker process with one model; it answers as many requests at a time as the worker supports."""

    def __init__(self, options: Options, prompter: Prompter, log: logging.Logger, launch: Launch = ENGINE) -> None:
        self.options, self._prompter, self._log = options, prompter, log
        self._turns = TurnQueue(options.max_queue)
        self.slot = WorkerSlot(options, log, launch)
        self._loader = ModelLoader(options, self.slot, log, self._load_ended)
        self._status = StatusReport(options, self._turns, self.slot, self._loader)
        self._idle_work = IdleWork(options.idle_work_after_s, log)
        self._idle_unload = IdleTimer(options.idle_unload_s, self._unload_idle)
        self._salts = PrefixSalts()

    # ------------------------------------------------------------------------------------------ answers

    @property
    def model(self) -> str:
        """The name of the loaded model, else of the one that is loading or would be loaded."""
        worker, load = self.slot.worker, self._loader.current
        if worker is not None and worker.card is not None:
            return worker.card.name
        return load.name if load is not None else self._loader.default

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat request; loads its model if it is on disk."""
        request = await self._prompter.checked(request)

        async def ask(worker: Worker) -> AsyncGenerator[Event, None]:
            salt = await self._salts.of_caller()

            def send(asked: ChatRequest, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
                return events_of(worker, *to_generate(asked, messages, salt), self.options.stall)

            async with contextlib.aclosing(answered(request, self._target_of(worker), self._prompter, send)) as events:
                async for event in events:
                    yield event
            # only a notebook in plain data: one in a child process would keep that process alive
            if isinstance(request.extras.notebook, dict):
                self._idle_work.offer(lambda: self._prefill_notebook(request))

        events = self._in_turn(request.model, _owner(request), ask, refuse_if_busy=request.extras.if_busy == "refuse")
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Continue a prompt, up to its suffix if it has one; loads its model if it is on disk."""
        is_ghost = request.if_busy == "refuse"

        async def ask(worker: Worker) -> AsyncGenerator[Event, None]:
            if request.suffix and not is_ghost:  # ghost text ignores the suffix rather than fail
                _refuse_without_fim(self._target_of(worker).card)
            header = to_complete(request, await self._salts.of_caller())
            async with contextlib.aclosing(events_of(worker, header, b"", self.options.stall)) as events:
                async for event in events:
                    yield event

        owner = token_holder() or "completion"
        events = self._in_turn(request.model, owner, ask, refuse_if_busy=is_ghost, is_background=is_ghost)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Always raises `Failure`: the models that run here generate text."""
        card = (await self.target(request.model)).card
        raise Failure(
            "unsupported",
            f"{card.title or card.name} generates text and cannot compute embeddings.",
            "Use an embedding model on a server of its own.",
            "model",
        )

    async def _in_turn(
        self, name: str | None, owner: str, ask: Ask, *, refuse_if_busy: bool, is_background: bool = False
    ) -> AsyncGenerator[Event, None]:
        if refuse_if_busy and self.slot.ready(name) is None and self._loader.current is not None:
            raise Failure("busy", "The model is loading.", "Try again in a few seconds.")
        turn = self._turns.join(owner, refuse_if_busy=refuse_if_busy, is_background=is_background)
        self._busy()
        try:
            async for position in turn.wait():
                yield Queued(position)
            async with contextlib.aclosing(self._with_worker(name, ask)) as events:
                async for event in events:
                    yield event
        finally:
            self._status.on_answer_over()
            turn.leave()
            self._idle()

    async def _with_worker(self, name: str | None, ask: Ask) -> AsyncGenerator[Event, None]:
        while True:
            async for progress in self._loader.ensure_ready(name):
                yield progress
            async with self.slot.lock.shared():
                worker = self.slot.ready(name)
                if worker is None:  # replaced or died while we waited for the lock
                    continue
                async with contextlib.aclosing(ask(worker)) as events:
                    async for event in events:
                        self._status.on_event(event)
                        yield event
                return

    async def _prefill_notebook(self, request: ChatRequest) -> None:
        """Prefill the notebook in its present state, so that the next question's prompt needs no log of changes."""
        worker = self.slot.ready(request.model)
        if worker is None:
            return
        target = self._target_of(worker)
        built = await self._prompter.rebased(request, target)
        if built is None:
            return
        once = replace(request, sampling=Sampling(temperature=0.0, max_tokens=1), form=Form(), calling=Calling(), n=1)
        frame = to_generate(once, built.messages, await self._salts.of_caller(), is_background=True)
        async with contextlib.aclosing(events_of(worker, *frame, self.options.stall)) as events:
            async for _ in events:
                pass
        self._prompter.keep(request, target, built)

    # ------------------------------------------------------------------------------------------ the model

    async def target(self, name: str | None) -> Target:
        """The model that a prompt would be for; looked up on disk if it is not loaded. Raises `Failure`."""
        worker = self.slot.ready(name)
        if worker is not None:
            return self._target_of(worker)
        model = await asyncio.to_thread(disk_models.find, await self._loader.resolve(name))
        model.refuse_absent()
        return Target(model.card(self.options.context_length), model.tokenizer, self.slot.count)

    def _target_of(self, worker: Worker) -> Target:
        assert worker.card is not None

        async def render(messages: Sequence[Message]) -> int:
            turns = [{"role": message.role, "content": [message.text]} for message in messages]
            return int((await worker.call({"type": "render", "messages": turns}))["tokens"])

        return Target(worker.card, worker.tokenizer, self.slot.count, render)

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        """Make a model ready; also ends a crash loop. Only with `download` may it be fetched from the network.

        kv, adapter, spill: settings from now on, None keeps the present one. kv: format of the KV cache. adapter: name of the
        LoRA adapter of this model, "" for none. spill: whether layers that do not fit on the GPU stay in host memory.
        """
        path = str(await asyncio.to_thread(disk_models.find_adapter, adapter)) if adapter else ""
        self.slot.configure(kv, spill)
        async with contextlib.aclosing(self._loader.ensure_ready(name, download)) as events:
            async for progress in events:
                yield progress
        worker = self.slot.ready(name)
        if worker is not None and worker.is_parked:
            yield Loading("load", None, "moving the weights back to the GPU")
            await self.slot.wake(worker)
        if worker is not None and adapter is not None:
            yield Loading("load", None, "changing the adapter")
            await self.slot.use_adapter(worker, adapter, path)

    async def unload(self) -> None:
        """Cancel any load and end the worker: the memory is free when this returns. Running answers fail."""
        await self._loader.cancel()
        await self.slot.stop()

    async def park(self) -> None:
        await self.slot.park()

    async def close(self) -> None:
        """Unload for good."""
        self._busy()
        await self._idle_work.close()
        await self._loader.cancel()
        await self.slot.close()

    # ------------------------------------------------------------------------------------------ idle time

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits, or a model loads."""
        return bool(self._turns.running) or self._loader.current is not None

    def _busy(self) -> None:
        self._idle_work.busy()
        self._idle_unload.busy()

    def _idle(self) -> None:
        """Start counting idle time, if it is."""
        self._busy()
        if self.is_busy:
            return
        self._idle_work.idle()
        if self.slot.worker is not None:
            self._idle_unload.idle()

    def _load_ended(self) -> None:
        if self.slot.worker is not None:
            self._turns.set_width(self.slot.worker.width)
        self._idle()

    def _unload_idle(self) -> None:
        if not self.is_busy:
            self._log.info("mistral: unloading after %.0f s without a request", self.options.idle_unload_s)
            self.slot.stop_soon()

    # ------------------------------------------------------------------------------------------ reports

    async def status(self) -> Status:
        return await self._status.status()

    async def cards(self) -> list[ModelCard]:
        """The loaded model first, then the others on disk."""
        worker = self.slot.worker
        loaded = [worker.card] if worker is not None and worker.card is not None else []
        cards = await asyncio.to_thread(disk_models.on_disk, self.options.context_length)
        return loaded + [card for card in cards if all(card.name != one.name for one in loaded)]

    async def rows(self) -> list[dict[str, Any]]:
        """The catalogue with all models that can be loaded, see `models.listing`."""
        from ...models.listing import rows

        return await asyncio.to_thread(rows, self.slot.kv)


def _owner(request: ChatRequest) -> str:
    """Whose turn a request takes: the token holder's, else the notebook's, else that of its kind of client."""
    notebook = request.extras.notebook or {}
    return token_holder() or f"{request.extras.client} {notebook.get('path') or ''}"


def _refuse_without_fim(card: ModelCard) -> None:
    if "fim" not in card.can:
        raise Failure(
            "unsupported",
            f"{card.title or card.name} does not support fill-in-the-middle.",
            "Omit suffix, or choose a model that GET /mistral/v1/models lists with completion_fim.",
            "suffix",
        )
