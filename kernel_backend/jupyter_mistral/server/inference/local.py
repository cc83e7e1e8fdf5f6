"""The engine behind one interface: requests in, events out. `LocalEngine` runs the worker process: starts it when asked,
gives each request its turn, restarts it after a crash, ends it when idle. Knows nothing of HTTP and of notebooks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..._version import __version__
from ...protocol.conversation import Message
from ...protocol.events import Embeddings, End, Event, Loading, Queued, Usage
from ...protocol.failures import Failure
from ...protocol.requests import Calling, ChatRequest, CompletionRequest, EmbeddingRequest, Form, Sampling
from ...protocol.status import Memory, ModelCard, Seal, Status
from ..http.identity import holder
from . import loading, read_in_parts
from .idle_work import Spare
from .loading import Load
from .prefix_salt import own_salt
from .read_in_parts import answered
from .turns import LONGEST, Floor, Line
from .worker import OURS, Launch, Worker
from .worker_stream import Watch, events_of, to_complete, to_generate

if TYPE_CHECKING:
    from ...context import Built

Messages = tuple[Message, ...]


@dataclass(frozen=True)
class Target:
    """The model that a prompt is made for. tokenizer: path of its tokenizer.json, None where it has none of that kind."""

    card: ModelCard
    tokenizer: str | None
    count: Callable[[Sequence[str]], Awaitable[list[int]]]
    # whole prompt's tokens with the chat template's own; None while the model is not loaded
    render: Callable[[Sequence[Message]], Awaitable[int]] | None = None
    # whether `count` counts or, for an engine elsewhere that does not, estimates
    is_exact: bool = True


class Prompter(read_in_parts.Prompter, Protocol):
    """Makes the messages of a request for a model, its notebook read in, and says what of that was left out. `checked` is the
    request once its pictures are known to be good; `rebased` and `keep`: see `PromptBuilder`."""

    async def checked(self, request: ChatRequest) -> ChatRequest: ...
    async def rebased(self, request: ChatRequest, target: Target) -> Built | None: ...
    def keep(self, request: ChatRequest, target: Target, built: Built) -> None: ...


class Engine(Protocol):
    """What routes know of an engine. A stream ends in one `End` or raises one `Failure`; closing it cancels the request."""

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
class Options:
    """What an admin may set. An empty `default_model` is the one that fits the machine. Times in seconds, 0 is never.

    kv: how keys and values are stored. parallel: requests answered at once, 0 for as many as the engine takes. spill: whether
    layers that do not fit on the GPU stay in host memory.
    """

    default_model: str = ""
    context_length: int | None = None
    device: str = "auto"
    idle_unload_s: float = 1800.0
    max_queue: int = LONGEST
    kv: str = "bf16"
    parallel: int = 0
    spill: bool = False
    deaths: int = 3
    deaths_within_s: float = 600.0
    watch: Watch = field(default_factory=Watch)
    # quiet after which a notebook that changed since is read anew; 0 is never
    spare_after_s: float = 5.0


class LocalEngine:
    """One worker process at most, as many requests in it at a time as it takes, one model for everybody."""

    def __init__(self, options: Options, prompter: Prompter, log: logging.Logger, launch: Launch = OURS) -> None:
        self._options, self._prompter, self._log = options, prompter, log
        self._launch = launch
        self._line = Line(options.max_queue)
        # held while the worker answers, and alone while it is replaced
        self._floor = Floor()
        self._worker: Worker | None = None
        self._starting: Worker | None = None  # the one that loads
        self._load: Load | None = None
        self._failure: Failure | None = None
        self._deaths: deque[float] = deque(maxlen=options.deaths)
        self._stall: Failure | None = None
        self._last: Usage | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self._default = options.default_model
        self._kv: str = options.kv
        self._spill = options.spill
        self._adapted: tuple[str, dict[str, str]] = ("", {})  # a model, and the adapter that it is loaded with
        self._salts: dict[str, str] = {}
        self._spare = Spare(options.spare_after_s, log)

    # ------------------------------------------------------------------------------------------ answering

    @property
    def model(self) -> str:
        """The name of the loaded model, else of the one that loads or would be loaded."""
        if self._worker is not None and self._worker.card is not None:
            return self._worker.card.name
        return self._load.name if self._load is not None else self._default

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer a chat request; loads its model if that lies on disk."""
        request = await self._prompter.checked(request)

        async def ask(worker: Worker) -> AsyncGenerator[Event, None]:
            salt = await self._own_salt()

            def send(asked: ChatRequest, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
                return events_of(worker, *to_generate(asked, messages, salt), self._options.watch)

            async with contextlib.aclosing(answered(request, self._target_of(worker), self._prompter, send)) as events:
                async for event in events:
                    yield event
            # plain data only: a notebook that is held elsewhere would be held for nothing
            if isinstance(request.extras.notebook, dict):
                self._spare.offer(lambda: self._read_anew(request))

        turns = self._in_turn(request.model, _owner(request), request.extras.if_busy == "refuse", ask)
        async with contextlib.aclosing(turns) as events:
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Go on from a prompt (up to its suffix); loads its model if that lies on disk."""

        is_ghost = request.if_busy == "refuse"

        async def ask(worker: Worker) -> AsyncGenerator[Event, None]:
            if request.suffix and not is_ghost:  # ghost text goes on without what follows, rather than not at all
                _refuse_without_fim(self._target_of(worker).card)
            header = to_complete(request, await self._own_salt())
            async with contextlib.aclosing(events_of(worker, header, b"", self._options.watch)) as events:
                async for event in events:
                    yield event

        turns = self._in_turn(request.model, holder() or "completion", is_ghost, ask, gives_way=is_ghost)
        async with contextlib.aclosing(turns) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Models of ours answer in text: always a `Failure`."""
        card = (await self.target(request.model)).card
        raise Failure(
            "unsupported",
            f"{card.title or card.name} answers in text and makes no embeddings.",
            "Use a model that was made for embeddings, on a server of its own.",
            "model",
        )

    async def _read_anew(self, request: ChatRequest) -> None:
        """Have the model read the notebook as it stands now, so that the next question finds no log of changes."""
        worker = self._ready(request.model)
        if worker is None:
            return
        target = self._target_of(worker)
        built = await self._prompter.rebased(request, target)
        if built is None:
            return
        once = replace(request, sampling=Sampling(temperature=0.0, max_tokens=1), form=Form(), calling=Calling(), n=1)
        header, blob = to_generate(once, built.messages, await self._own_salt(), gives_way=True)
        async with contextlib.aclosing(events_of(worker, header, blob, self._options.watch)) as events:
            async for _ in events:
                pass
        self._prompter.keep(request, target, built)

    async def _own_salt(self) -> str:
        """Another one for each holder of a named token: what one has had read, no other finds."""
        name = holder()
        if name not in self._salts:
            self._salts[name] = await asyncio.to_thread(own_salt, name)
        return self._salts[name]

    async def _in_turn(
        self,
        name: str | None,
        owner: str,
        is_refusing: bool,
        ask: Callable[[Worker], AsyncGenerator[Event, None]],
        gives_way: bool = False,
    ) -> AsyncGenerator[Event, None]:
        if is_refusing and self._ready(name) is None and self._load is not None:
            raise Failure("busy", "The model is busy with another request.", "Try again in a few seconds.")
        place = self._line.join(owner, refuse=is_refusing, gives_way=gives_way)
        self._stay()
        try:
            async for ahead in place.wait():
                yield Queued(ahead)
            while True:
                async for progress in self._made_ready(name):
                    yield progress
                async with self._floor.shared():
                    # the model may have been swapped or have died while we waited for the floor
                    worker = self._ready(name)
                    if worker is None:
                        continue
                    async with contextlib.aclosing(ask(worker)) as events:
                        async for event in events:
                            self._note(event)
                            yield event
                    return
        finally:
            self._stall = None
            place.leave()
            self._rest()

    def _note(self, event: Event) -> None:
        """What status tells of the answer under way."""
        self._stall = (
            Failure("engine_died", f"The model hangs: {event.detail}.") if isinstance(event, Loading) else None
        )
        if isinstance(event, End):
            self._last = event.usage

    def _target_of(self, worker: Worker) -> Target:
        assert worker.card is not None

        async def render(messages: Sequence[Message]) -> int:
            turns = [{"role": message.role, "content": [message.text]} for message in messages]
            return int((await worker.answer({"type": "render", "messages": turns}))["tokens"])

        return Target(worker.card, worker.tokenizer, self._count_in_worker, render)

    async def _count_in_worker(self, texts: Sequence[str]) -> list[int]:
        if self._worker is None:
            raise Failure("model_not_on_disk", "Tokens cannot be counted before the model is loaded.", "Load it first.")
        found = await self._worker.answer({"type": "count", "texts": list(texts)})
        return [int(n) for n in found["counts"]]

    async def target(self, name: str | None) -> Target:
        """The model that a prompt would be for; one that is not loaded is looked up on disk. Raises `Failure`."""
        worker = self._ready(name)
        if worker is not None:
            return self._target_of(worker)
        found = await asyncio.to_thread(loading.find, await self._resolved(name))
        found.refuse_absent()
        return Target(found.card(self._options.context_length), found.tokenizer, self._count_in_worker)

    # ------------------------------------------------------------------------------------------ loading

    async def load(
        self,
        name: str | None,
        *,
        download: bool = False,
        kv: str | None = None,
        adapter: str | None = None,
        spill: bool | None = None,
    ) -> AsyncGenerator[Loading, None]:
        """Make a model ready, fetched from the network only where `download`; also the "try again" after a crash loop.

        kv: from now on, how keys and values are stored; None leaves that as it is. adapter: from now on, the LoRA adapter of
        that name on this model, "" for none. spill: from now on, whether layers that do not fit on the GPU stay in host memory.
        """
        path = str(await asyncio.to_thread(loading.find_adapter, adapter)) if adapter else ""
        self._deaths.clear()
        self._failure = None
        self._kv = kv or self._kv
        self._spill = self._spill if spill is None else spill
        async with contextlib.aclosing(self._made_ready(name, download)) as events:
            async for progress in events:
                yield progress
        worker = self._ready(name)
        if worker is not None and worker.is_parked:
            yield Loading("load", None, "bringing the weights back")
            async with self._floor.alone():
                await worker.move("wake")
        if worker is not None and worker.card is not None and adapter is not None:
            yield Loading("load", None, "changing the adapter")
            async with self._floor.alone():
                await worker.adapt({"name": adapter, "path": path})
            self._adapted = (worker.card.name, {"name": adapter, "path": path} if adapter else {})

    def _ready(self, name: str | None) -> Worker | None:
        worker = self._worker
        if worker is None or worker.card is None or worker.gone.is_set() or worker.card.kv != self._kv:
            return None
        if worker.memory.spilled and not self._spill:
            return None
        return worker if name in (None, "default", worker.card.name) else None

    async def _resolved(self, name: str | None) -> str:
        """The name that none and `default` stand for: what loads, else the configured model, else what fits the machine."""
        if name not in (None, "default"):
            return name
        if self._load is not None:
            return self._load.name
        if not self._default:
            from ...models import default_name

            self._default = await asyncio.to_thread(default_name)
        return self._default

    async def _made_ready(self, name: str | None, download: bool = False) -> AsyncGenerator[Loading, None]:
        if self._ready(name) is not None:
            return
        wanted = await self._resolved(name)
        while self._load is not None and self._load.name != wanted:
            with contextlib.suppress(Failure):  # another model's failure is not ours
                async for progress in self._load.watch():
                    yield progress
        if self._ready(name) is not None:
            return
        if self._load is None:
            self._refuse_crash_loop()
            self._load = Load(wanted, lambda tell: self._bring(wanted, download, tell))
        async for progress in self._load.watch():
            yield progress

    def _refuse_crash_loop(self) -> None:
        recent = [at for at in self._deaths if time.monotonic() - at < self._options.deaths_within_s]
        if len(recent) >= self._options.deaths:
            self._failure = Failure(
                "engine_stopped",
                f"The model host died {len(recent)} times in {self._options.deaths_within_s / 60:.0f} minutes, "
                "so it is not started again by itself.",
                "Try again with `%mistral load`; `jupyter mistral doctor` looks for the reason.",
            )
            raise self._failure

    async def _bring(self, name: str, download: bool, tell: Callable[[Loading], None]) -> None:
        """The work of one load. Keeps what went wrong for status; a load called off leaves nothing behind."""
        try:
            found = await asyncio.to_thread(loading.find, name)
            loading.refuse_missing_engine()
            folder = await asyncio.to_thread(loading.private_folder)
            if found.is_absent and download:
                async with contextlib.aclosing(loading.download(name, folder)) as fetching:
                    async for progress in fetching:
                        tell(progress)
                found = await asyncio.to_thread(loading.find, name)
            found.refuse_absent()
            async with self._floor.alone():
                await self._swap(found, folder, tell)
            self._failure = None
        except Failure as failure:
            self._failure = failure
            raise
        except Exception:
            self._log.exception("mistral: loading failed")
            self._failure = Failure("internal", "Loading the model failed.", "The server's log has the reason.")
            raise self._failure from None
        finally:
            self._load = None
            self._rest()

    async def _swap(self, found: loading.Found, folder: Path, tell: Callable[[Loading], None]) -> None:
        await self._end_worker()
        tell(Loading("load", None, "starting the model host"))
        worker = self._starting = await Worker.start(self._died, self._log, folder=folder, launch=self._launch)
        try:
            order = found.order(self._options.context_length, self._options.device)
            order |= {"kv": self._kv, "width": self._options.parallel, "spill": self._spill}
            if self._adapted[0] == found.entry.name:
                order["adapter"] = self._adapted[1]
            async with contextlib.aclosing(worker.load(order)) as progress:
                async for step in progress:
                    tell(step)
        except BaseException:
            await worker.stop()
            raise
        finally:
            self._starting = None
        assert worker.card is not None
        worker.card = found.named(worker.card)
        self._worker = worker
        self._line.widen(worker.width)
        self._log.info("mistral: %s is loaded, process %d", found.entry.name, worker.pid)

    def _died(self, worker: Worker) -> None:
        """The worker ended and nobody had asked it to. The next request starts another."""
        self._deaths.append(time.monotonic())
        words = worker.last_words().strip()
        told = f"its last words:\n{words}" if words else "it left no word why"
        self._log.error("mistral: the model host died (process %d); %s", worker.pid, told)
        if self._worker is worker:
            self._worker = None
            task = asyncio.create_task(worker.reap())
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)
        with contextlib.suppress(Failure):
            self._refuse_crash_loop()

    # ------------------------------------------------------------------------------------------ ending

    async def unload(self) -> None:
        """End the worker and any load at once: the memory is free when this returns. A running answer fails."""
        load = self._load
        if load is not None:
            load.task.cancel()
            await asyncio.gather(load.task, return_exceptions=True)
        await self._end_worker()

    async def park(self) -> None:
        """Have the weights leave the device once nobody is being answered; the next request brings them back."""
        async with self._floor.alone():
            worker = self._ready(None)
            if worker is None:
                raise Failure("engine_stopped", "No model is loaded, so the device is free.", "There is nothing to do.")
            await worker.move("park")

    async def close(self) -> None:
        """Unload for good."""
        self._stay()
        await self._spare.close()
        await self.unload()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        self._failure = None  # whatever failed before is not how things stand now
        if worker is not None:
            await worker.stop()

    def _stay(self) -> None:
        self._spare.stay()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest(self) -> None:
        """Count the idle time anew, if nobody is in the line."""
        self._stay()
        if not self._line.running and self._load is None:
            self._spare.rest()
        if self._options.idle_unload_s and not self._line.running and self._worker is not None:
            self._idle = asyncio.get_running_loop().call_later(self._options.idle_unload_s, self._unload_idle)

    def _unload_idle(self) -> None:
        if self._line.running or self._load is not None:
            return
        self._log.info("mistral: unloading after %.0f s without a request", self._options.idle_unload_s)
        task = asyncio.create_task(self._end_worker())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    # ------------------------------------------------------------------------------------------ telling

    async def status(self) -> Status:
        if self._worker is not None and (self._worker.memory.gpu or not self._line.running):
            await self._look_at(self._worker)
        worker = self._worker
        card = worker.card if worker is not None else None
        failure = self._stall or (None if card is not None else self._failure)
        return Status(
            version=__version__,
            state=await self._state(card is not None),
            default_model=self._default or await self._resolved("default"),
            model=card,
            progress=self._load.latest if self._load is not None else None,
            running=self._line.running,
            queued=self._line.waiting,
            memory=worker.memory if worker is not None else Memory(),
            seal=self._seal(),
            last=self._last,
            failure=failure.to_dict() if failure is not None else None,
            worker_pid=worker.pid if worker is not None else None,
            idle_unload_s=self._options.idle_unload_s,
        )

    def _seal(self) -> Seal:
        """Of the worker that answers or loads: it has sealed itself before it says its first word."""
        worker = self._worker or self._starting
        if worker is not None:
            return worker.seal
        starts = "the worker starts; its seal is tried out before it loads a model"
        return Seal(reason="no worker is running" if self._load is None else starts)

    async def _look_at(self, worker: Worker) -> None:
        """A worker at rest that says nothing for as long as one with a request may is no ready one: it is ended."""
        await worker.look()
        if worker.silent_s > self._options.watch.ended_s and not self._line.running and worker is self._worker:
            self._log.error("mistral: the model host said nothing for %.0f s; it is ended", worker.silent_s)
            await worker.kill()

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits, or a model loads."""
        return bool(self._line.running) or self._load is not None

    async def cards(self) -> list[ModelCard]:
        """The loaded model first, then what else lies on disk."""
        worker = self._worker
        loaded = [worker.card] if worker is not None and worker.card is not None else []
        found = await asyncio.to_thread(loading.on_disk, self._options.context_length)
        return loaded + [card for card in found if all(card.name != one.name for one in loaded)]

    async def rows(self) -> list[dict[str, Any]]:
        """The catalogue: every model that there is to load, see `models.listing`."""
        from ...models.listing import rows

        return await asyncio.to_thread(rows, self._kv)

    async def _state(self, is_ready: bool) -> Any:
        if self._load is not None:
            return "loading"
        if is_ready:
            return "parked" if self._worker is not None and self._worker.is_parked else "ready"
        if self._failure is not None:
            return "failed"
        try:
            found = await asyncio.to_thread(loading.find, await self._resolved(None))
        except Failure:
            return "absent"
        return "absent" if found.is_absent else "unloaded"


def _owner(request: ChatRequest) -> str:
    """Whose turn a request takes: the token's holder's, else the notebook's that it comes from, else its kind of client's."""
    notebook = request.extras.notebook or {}
    return holder() or f"{request.extras.client} {notebook.get('path') or ''}"


def _refuse_without_fim(card: ModelCard) -> None:
    if "fim" not in card.can:
        raise Failure(
            "unsupported",
            f"{card.title or card.name} cannot fill in the middle.",
            "Leave suffix out, or ask a model that GET /mistral/v1/models lists with completion_fim.",
            "suffix",
        )
