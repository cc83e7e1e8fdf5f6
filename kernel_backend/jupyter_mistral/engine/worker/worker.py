"""The worker's two threads of work: one runs the model, one counts tokens meanwhile. Frames become calls here and nowhere else."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.conversation import Tool, ToolCall
from ...protocol.events import CallPiece, Delta, Loading, Reading
from ...protocol.failures import Failure
from ...protocol.requests import Calling, Form, Sampling
from .link import Frame, Link, leave

if TYPE_CHECKING:
    from ..load.loader import Engine
    from .answer import Job
    from .schedule import Schedule

_TELL_EVERY_S = 0.2


class Worker:
    """Takes frames from the link. `run` is the main thread's loop and ends with the process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._work: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._desk: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._open: set[str] = set()
        self._cancelled: set[str] = set()
        self._engine: Engine | None = None
        self._schedule: Schedule | None = None
        self._told = 0.0

    # ------------------------------------------------------------------------------------------ on the reading thread

    def take(self, header: dict[str, Any], blob: bytes) -> None:
        """Raises for a frame that makes no sense, which ends the process."""
        kind = header["type"]
        if kind in ("generate", "complete"):
            self._open.add(header["id"])
            self._work.put((header, blob))
        elif kind in ("load", "park", "wake", "adapt", "shutdown"):
            self._cancelled |= self._open if kind == "shutdown" else set()
            self._work.put((header, blob))
        elif kind in ("count", "render", "look"):
            self._desk.put((header, blob))
        elif kind == "cancel":
            self._cancelled.add(header["id"]) if header["id"] in self._open else None
        elif kind == "ping":
            self._link.send({"type": "pong", "id": header["id"]})
        else:
            raise ValueError(f"unknown type {kind!r}")

    # ------------------------------------------------------------------------------------------ on the threads of work

    def run(self) -> None:
        threading.Thread(target=self._clerk, name="clerk", daemon=True).start()
        _prepare()
        while True:
            schedule = self._schedule
            is_idle = schedule is None or schedule.is_idle
            with contextlib.suppress(queue.Empty):
                self._carry_out(*self._work.get(block=is_idle))
                continue
            assert schedule is not None, "an empty queue was not waited for"
            schedule.run()

    def _carry_out(self, header: dict[str, Any], blob: bytes) -> None:
        if header["type"] in ("generate", "complete"):
            self._guard(header, lambda order: self._begin(order, blob))
            return
        if self._schedule:
            self._schedule.drain()
        if header["type"] == "shutdown":
            if self._engine:
                self._engine.close()
            leave("", 0)
        works = {"load": self._load, "adapt": self._adapt}
        self._guard(header, works.get(header["type"], self._move))

    def _adapt(self, order: dict[str, Any]) -> None:
        """Use an adapter, "" for none; one with a path is read (anew) first. `unload`: take it off."""
        adapters, name = self._ready().adapters, str(order["name"])
        if order.get("unload"):
            adapters.unload(name)
        else:
            if order.get("path"):
                adapters.load(name, Path(order["path"]))
            adapters.use(name)
        told = {"adapter": adapters.used, "adapters": adapters.names}
        self._link.send({"type": "adapted", "id": order["id"], **told})

    def _move(self, order: dict[str, Any]) -> None:
        """Take the weights off the device, or bring them back."""
        shelf = self._ready().shelf
        shelf.park() if order["type"] == "park" else shelf.wake()
        self._link.send({"type": "memory", **asdict(self._ready().memory())})
        self._link.send({"type": "moved", "id": order["id"], "is_parked": shelf.is_parked})

    def _clerk(self) -> None:
        """Counting must not wait for an answer that is being written."""
        while True:
            header, blob = self._desk.get()
            self._guard(header, lambda order, blob=blob: self._count(order, blob))  # type: ignore[misc]

    def _guard(self, header: dict[str, Any], work: Callable[[dict[str, Any]], None]) -> None:
        """The broad catch of the worker: whatever goes wrong becomes this request's one failure."""
        try:
            work(header)
            return
        except Failure as error:
            failure = error
        except Exception as error:
            failure = self._named(error)
        if header["type"] == "load":
            self._link.send({"type": "failed", "failure": failure.to_dict()})
        else:
            self._link.send({"type": "error", "id": header["id"], "failure": failure.to_dict()})

    def _named(self, error: Exception) -> Failure:
        from ..load import memory

        device = self._engine.device if self._engine else "cpu"
        if memory.is_out_of_memory(error):
            if self._engine:
                self._engine.decoder.drop()
            return memory.out_of_memory(device)
        traceback.print_tb(error.__traceback__)  # where, but not what: the message could quote the prompt
        return Failure(
            "internal",
            f"The engine stumbled ({type(error).__name__}).",
            "Ask again; the log of the server has the place.",
        )

    # ------------------------------------------------------------------------------------------ load

    def _load(self, order: dict[str, Any]) -> None:
        try:
            from ..load import uncompiled  # noqa: F401  # before what it makes light
            from ..load.loader import load
        except ImportError as error:
            raise Failure(
                "engine_missing",
                f"{error.name} is not installed, which the model host needs.",
                'Run `pip install "jupyter-mistral[engine]"`.',
            ) from error
        if self._engine:
            self._engine.close()
            self._engine = self._schedule = None
        self._engine = engine = load(order, self._tell)
        self._schedule = engine.schedule(self._named)
        self._link.send(
            {
                "type": "ready",
                "card": asdict(engine.card),
                "memory": asdict(engine.memory()),
                "tokenizer": str(engine.vocabulary.path),
                "width": engine.width,
            }
        )

    def _tell(self, stage: str, fraction: float | None, detail: str, eta_s: float | None) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S or not fraction:
            self._told = now
            loading = Loading(stage, fraction, detail, eta_s)  # type: ignore[arg-type]  # our own four words
            self._link.send({"type": "loading", **asdict(loading)})

    def _ready(self) -> Engine:
        if self._engine is None:
            raise Failure("engine_stopped", "No model is loaded.", "Load one with `%mistral load`.")
        return self._engine

    # ------------------------------------------------------------------------------------------ requests

    def _begin(self, order: dict[str, Any], blob: bytes) -> None:
        """Tokenize a request and line it up."""
        from .schedule import Request

        identity = order["id"]

        def is_cancelled() -> bool:
            return identity in self._cancelled

        try:
            engine = self._ready()
            if engine.shelf.is_parked and order.get("gives_way"):  # not worth the device that was lent
                raise Failure("busy", "The model has lent its device.", "Ask a question to bring it back.")
            engine.shelf.wake()
            job = _chat_job(engine, order, blob) if order["type"] == "generate" else _completion_job(engine, order)
            room = engine.answerer.room(job)
        except BaseException:
            self._close(identity)
            raise
        assert self._schedule is not None, "there is one for each engine"
        events = engine.answerer.answer(job, is_cancelled)
        self._schedule.add(
            Request(
                events,
                room,
                lambda event: self._say(identity, event),
                lambda: self._settle(identity),
                is_cancelled,
                bool(order.get("gives_way")),
            )
        )

    def _say(self, identity: str, event: object) -> None:
        from .answer import Finish
        from .schedule import Waiting

        if isinstance(event, Delta):
            logprobs = {"logprobs": [entry.to_dict() for entry in event.logprobs]} if event.logprobs else {}
            self._link.send({"type": "delta", "id": identity, "text": event.text, **logprobs})
        elif isinstance(event, CallPiece):
            told = {"index": event.index, "arguments": event.arguments, "call_id": event.id, "name": event.name}
            self._link.send({"type": "call", "id": identity, **told})
        elif isinstance(event, Reading):
            self._link.send({"type": "reading", "id": identity, **asdict(event)})
        elif isinstance(event, Failure):
            self._link.send({"type": "error", "id": identity, "failure": event.to_dict()})
        elif isinstance(event, Finish):
            usage = asdict(event.usage)
            self._link.send({"type": "end", "id": identity, "reason": event.reason, "usage": usage})
        else:
            assert isinstance(event, Waiting), "an event of no known kind"
            self._link.send({"type": "queued", "id": identity, "position": event.position})

    def _settle(self, identity: str) -> None:
        """After each request, however it ended."""
        self._close(identity)
        if self._engine is not None:
            self._link.send({"type": "memory", **asdict(self._engine.memory())})

    def _close(self, identity: str) -> None:
        self._open.discard(identity)
        self._cancelled.discard(identity)

    def _count(self, order: dict[str, Any], blob: bytes) -> None:
        engine = self._ready()
        if order["type"] == "look":  # what others take of a GPU changes without us
            self._link.send({"type": "memory", **asdict(engine.memory())})
            self._link.send({"type": "looked", "id": order["id"]})
        elif order["type"] == "count":
            counts = engine.vocabulary.count([str(text) for text in order["texts"]])
            self._link.send({"type": "counts", "id": order["id"], "counts": counts})
        else:
            prompt = engine.template.prompt(_turns(engine, order, blob))
            self._link.send({"type": "rendered", "id": order["id"], "tokens": len(prompt.ids)})


def _prepare() -> None:
    """Import what loading will need, while the server makes up its mind; a missing library is told at `load`."""
    with contextlib.suppress(ImportError):
        from ..load import uncompiled  # noqa: F401, I001  # before what it makes light
        from ..load import loader  # noqa: F401


def _turns(engine: Engine, order: Mapping[str, Any], blob: bytes) -> list[Any]:
    sizes = [int(image["size"]) for image in order.get("images") or []]
    if sum(sizes) != len(blob):
        raise Failure("bad_request", "The pictures' sizes do not add up.", "Send the request again.")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    if sizes and engine.image_preparer is None:
        raise Failure("unsupported", f"{engine.card.name} reads no pictures.", "Load a vision model, or ask in text.")
    turns = []
    for message in order["messages"]:
        content: list[Any] = []
        for part in message["content"] if isinstance(message["content"], list) else [message["content"]]:
            if isinstance(part, str):
                content.append(part)
                continue
            at = int(part["image"])
            assert engine.image_preparer is not None, "pictures were refused above"
            content.append(
                engine.image_preparer.prepare(blob[starts[at] : starts[at] + sizes[at]], f"Picture {at + 1}")
            )
        calls = [ToolCall(**call) for call in message.get("calls") or ()]
        turns.append((str(message["role"]), content, calls, str(message.get("call_id") or "")))
    return turns


def _chat_job(engine: Engine, order: Mapping[str, Any], blob: bytes) -> Job:
    from .answer import Job

    form = Form(**order["form"]) if order.get("form") else Form()
    calling = _calling(order)
    prompt = engine.template.prompt(_turns(engine, order, blob), [tool.to_dict() for tool in calling.tools])
    return Job(
        prompt,
        _sampling(order),
        engine.ends,
        form,
        str(order.get("salt") or ""),
        calling=calling,
        dialect=engine.template.dialect if calling.tools else None,
        top_logprobs=order.get("top_logprobs"),
    )


def _calling(order: Mapping[str, Any]) -> Calling:
    """What may be called; nothing where the choice is none, so that the prompt does not tempt the model."""
    told = dict(order.get("calling") or {})
    if not told or told.get("choice") == "none":
        return Calling()
    return Calling(**{**told, "tools": tuple(Tool(**tool) for tool in told["tools"])})


def _completion_job(engine: Engine, order: Mapping[str, Any]) -> Job:
    from ..decode.prompt import Prompt
    from .answer import Job, fill_in_the_middle

    ids, ends = fill_in_the_middle(engine.vocabulary, engine.fim, order["prompt"], order.get("suffix"))
    if not ids:
        raise Failure("bad_request", "There is nothing to complete.", "Give a prompt.")
    salt = str(order.get("salt") or "")
    top = order.get("top_logprobs")
    return Job(Prompt(ids), _sampling(order), ends | engine.ends, salt=salt, starts_anew=False, top_logprobs=top)


def _sampling(order: Mapping[str, Any]) -> Sampling:
    told = dict(order.get("sampling") or {})
    unknown = set(told) - {field.name for field in fields(Sampling)}
    if unknown:
        raise Failure("bad_request", f"Unknown sampling setting {json.dumps(min(unknown))}.", "Leave it out.")
    told["stop"] = tuple(told.get("stop") or ())
    return Sampling(**told)
