"""Carries out the server's frames. One thread runs the model, another counts tokens meanwhile.

torch is imported in the background, so the modules that need it are imported where they are used.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.events import CallPiece, Delta, Loading, Reading
from ...protocol.failures import Failure
from .link import Frame, Link, exit_process

if TYPE_CHECKING:
    from ..load.engine import Engine
    from ..requests.schedule import Schedule

_REPORT_EVERY_S = 0.2


class Worker:
    """Takes frames from the link. `run` is the main thread's loop and ends with the process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._model_work: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._side_work: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._open: set[str] = set()
        self._cancelled: set[str] = set()
        self._engine: Engine | None = None
        self._schedule: Schedule | None = None
        self._reported = 0.0

    # ------------------------------------------------------------------------------------------ on the reading thread

    def take(self, header: dict[str, Any], blob: bytes) -> None:
        """Queue a frame. Raises for a malformed one, which ends the process."""
        kind = header["type"]
        if kind in ("generate", "complete"):
            self._open.add(header["id"])
            self._model_work.put((header, blob))
        elif kind in ("load", "park", "wake", "adapt", "shutdown"):
            self._cancelled |= self._open if kind == "shutdown" else set()
            self._model_work.put((header, blob))
        elif kind in ("count", "render", "look"):
            self._side_work.put((header, blob))
        elif kind == "cancel":
            if header["id"] in self._open:
                self._cancelled.add(header["id"])
        elif kind == "ping":
            self._link.send({"type": "pong", "id": header["id"]})
        else:
            raise ValueError(f"unknown type {kind!r}")

    # ------------------------------------------------------------------------------------------ on the working threads

    def run(self) -> None:
        threading.Thread(target=self._run_side_work, name="side work", daemon=True).start()
        _preload()
        while True:
            schedule = self._schedule
            is_idle = schedule is None or schedule.is_idle
            with contextlib.suppress(queue.Empty):
                self._carry_out(*self._model_work.get(block=is_idle))
                continue
            assert schedule is not None, "get blocks while there is no schedule"
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
            exit_process("", 0)
        actions = {"load": self._load, "adapt": self._adapt, "park": self._move, "wake": self._move}
        self._guard(header, actions[header["type"]])

    def _adapt(self, order: dict[str, Any]) -> None:
        """Use an adapter, "" for none; one with a path is loaded first. `unload` removes it."""
        adapters, name = self._ready().adapters, str(order["name"])
        if order.get("unload"):
            adapters.unload(name)
        else:
            if order.get("path"):
                adapters.load(name, Path(order["path"]))
            adapters.use(name)
        self._link.send({"type": "adapted", "id": order["id"], "adapter": adapters.used, "adapters": adapters.names})

    def _move(self, order: dict[str, Any]) -> None:
        """Park the model, or bring it back."""
        placement = self._ready().placement
        if order["type"] == "park":
            placement.park()
        else:
            placement.wake()
        self._send_memory(self._ready())
        self._link.send({"type": "moved", "id": order["id"], "is_parked": placement.is_parked})

    def _run_side_work(self) -> None:
        """On a thread of its own, so that counting does not wait for an answer."""
        while True:
            header, blob = self._side_work.get()
            self._guard(header, lambda order, blob=blob: self._count(order, blob))  # type: ignore[misc]

    def _guard(self, header: dict[str, Any], action: Callable[[dict[str, Any]], None]) -> None:
        """The worker's broad catch: any error becomes the one failure of this request."""
        try:
            action(header)
            return
        except Failure as error:
            failure = error
        except Exception as error:
            failure = self._to_failure(error)
        if header["type"] == "load":
            self._link.send({"type": "failed", "failure": failure.to_dict()})
        else:
            self._link.send({"type": "error", "id": header["id"], "failure": failure.to_dict()})

    def _to_failure(self, error: Exception) -> Failure:
        from ..device import memory

        device = self._engine.device if self._engine else "cpu"
        if memory.is_out_of_memory(error):
            if self._engine:
                self._engine.decoder.free_idle()
            return memory.out_of_memory(device)
        traceback.print_tb(error.__traceback__)  # without the message, which could quote the prompt
        message = f"The model engine failed ({type(error).__name__})."
        return Failure("internal", message, "Try again. The server log shows where it failed.")

    # ------------------------------------------------------------------------------------------ load

    def _load(self, order: dict[str, Any]) -> None:
        try:
            from ..load import import_bitsandbytes  # noqa: F401  # before everything that imports bitsandbytes
            from ..load.loader import load
        except ImportError as error:
            raise Failure(
                "engine_missing",
                f"{error.name} is not installed, but running a model requires it.",
                'Run `pip install "jupyter-mistral[engine]"`.',
            ) from error
        if self._engine:
            self._engine.close()
            self._engine = self._schedule = None
        self._engine = engine = load(order, self._report)
        self._schedule = engine.schedule(self._to_failure)
        self._link.send(
            {
                "type": "ready",
                "card": asdict(engine.card),
                "memory": asdict(engine.memory()),
                "tokenizer": str(engine.vocabulary.path),
                "width": engine.width,
            }
        )

    def _report(self, stage: str, fraction: float | None, detail: str, eta_s: float | None) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_EVERY_S or not fraction:
            self._reported = now
            loading = Loading(stage, fraction, detail, eta_s)  # type: ignore[arg-type]  # one of our four stages
            self._link.send({"type": "loading", **asdict(loading)})

    def _ready(self) -> Engine:
        if self._engine is None:
            raise Failure("engine_stopped", "No model is loaded.", "Load one with `%mistral load`.")
        return self._engine

    # ------------------------------------------------------------------------------------------ requests

    def _begin(self, order: dict[str, Any], blob: bytes) -> None:
        """Tokenize a request and add it to the schedule."""
        from ..requests.schedule import Request
        from .jobs import job_of

        identity, is_background = order["id"], bool(order.get("is_background"))

        def is_cancelled() -> bool:
            return identity in self._cancelled

        try:
            engine = self._ready()
            if engine.placement.is_parked and is_background:  # ghost text is not worth taking the GPU back
                message = "The model is parked: its GPU memory is lent to a notebook."
                raise Failure("busy", message, "Ask a question to bring it back.")
            engine.placement.wake()
            job = job_of(engine, order, blob)
            room = engine.answerer.room(job)
        except BaseException:
            self._forget(identity)
            raise
        assert self._schedule is not None, "each engine has one"

        def send(event: object) -> None:
            self._send_event(identity, event)

        def done() -> None:
            self._forget(identity)
            if self._engine is not None:
                self._send_memory(self._engine)

        events = engine.answerer.answer(job, is_cancelled)
        self._schedule.add(Request(events, room, send, done, is_cancelled, is_background))

    def _send_event(self, identity: str, event: object) -> None:
        from ..requests.answer import Finish
        from ..requests.schedule import Queued

        if isinstance(event, Delta):
            logprobs = {"logprobs": [entry.to_dict() for entry in event.logprobs]} if event.logprobs else {}
            self._link.send({"type": "delta", "id": identity, "text": event.text, **logprobs})
        elif isinstance(event, CallPiece):
            call = {"index": event.index, "arguments": event.arguments, "call_id": event.id, "name": event.name}
            self._link.send({"type": "call", "id": identity, **call})
        elif isinstance(event, Reading):
            self._link.send({"type": "reading", "id": identity, **asdict(event)})
        elif isinstance(event, Failure):
            self._link.send({"type": "error", "id": identity, "failure": event.to_dict()})
        elif isinstance(event, Finish):
            usage = asdict(event.usage)
            self._link.send({"type": "end", "id": identity, "reason": event.reason, "usage": usage})
        else:
            assert isinstance(event, Queued), "an unknown event"
            self._link.send({"type": "queued", "id": identity, "position": event.position})

    def _forget(self, identity: str) -> None:
        self._open.discard(identity)
        self._cancelled.discard(identity)

    def _send_memory(self, engine: Engine) -> None:
        self._link.send({"type": "memory", **asdict(engine.memory())})

    def _count(self, order: dict[str, Any], blob: bytes) -> None:
        """Count the tokens of texts or of a conversation, or measure memory."""
        engine = self._ready()
        if order["type"] == "look":  # other processes change what is free on a GPU
            self._send_memory(engine)
            self._link.send({"type": "looked", "id": order["id"]})
        elif order["type"] == "count":
            counts = engine.vocabulary.count([str(text) for text in order["texts"]])
            self._link.send({"type": "counts", "id": order["id"], "counts": counts})
        else:
            from .jobs import prompt_of

            self._link.send({"type": "rendered", "id": order["id"], "tokens": len(prompt_of(engine, order, blob).ids)})


def _preload() -> None:
    """Import what loading needs before it is asked for. `_load` reports a missing library."""
    with contextlib.suppress(ImportError):
        from ..load import import_bitsandbytes  # noqa: F401, I001  # before everything that imports bitsandbytes
        from ..load import loader  # noqa: F401
        from . import jobs  # noqa: F401
