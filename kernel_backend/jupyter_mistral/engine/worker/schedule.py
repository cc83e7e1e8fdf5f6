"""Which requests share the next forward. All that are being answered take part in each; of those that still read their
prompts one chunk goes along, in turn. So an answer never waits for more than one chunk of somebody else's prompt.

A request is a generator of events and needs (`answer.py`); this knows nothing of what is asked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from ...protocol.failures import Failure
from ..decode.decoder import Decoder
from ..decode.row import Need
from .answer import Answering, Finish
from .energy import Meter

TELL_EVERY_S = 2.0


@dataclass
class Request:
    """events: not begun. room: tokens that it may come to hold. tell: takes its events and its failure, and how many wait
    before it. gives_way: ghost text, worth nothing once somebody asks a question. done: called once, after all."""

    events: Answering
    room: int
    tell: Callable[[object], None]
    done: Callable[[], None]
    is_cancelled: Callable[[], bool]
    gives_way: bool = False
    need: Need | None = field(default=None, init=False)
    scores: torch.Tensor | None = field(default=None, init=False)
    has_waited: bool = field(default=False, init=False)


@dataclass(frozen=True)
class Waiting:
    """So many requests are served first: memory for more at once is not there."""

    position: int


class Schedule:
    """At most `width` requests at once, holding at most `room` tokens together; others wait in order. `name` turns an
    exception of the model into the failure that is told. meter: of the device's energy, None where it has none."""

    def __init__(
        self,
        decoder: Decoder,
        width: int,
        room: int,
        name: Callable[[Exception], Failure],
        meter: Meter | None = None,
    ) -> None:
        self._decoder, self._width, self._room, self._name = decoder, width, room, name
        self._meter = meter
        self._active: list[Request] = []
        self._waiting: deque[Request] = deque()
        self._readers: deque[Request] = deque()
        self._told = 0.0

    @property
    def is_idle(self) -> bool:
        return not self._active and not self._waiting

    def add(self, request: Request) -> None:
        """Ghost text gives way to a question, at once."""
        if not request.gives_way:
            for other in [*self._active, *self._waiting]:
                if other.gives_way:
                    self._fail(other, Failure("busy", "A question has come in between.", "Ask again in a few seconds."))
        self._waiting.append(request)

    def run(self) -> None:
        """One forward, and all that comes of it."""
        self._admit()
        for request in list(self._active):
            if request.need is None:
                self._advance(request)
        needs = self._chosen()
        if needs:
            self._forward(needs)

    # ------------------------------------------------------------------------------------------ who

    def _admit(self) -> None:
        """In order, so that a long prompt is not overtaken for ever; who was cancelled meanwhile only has to hear it."""
        for request in [other for other in self._waiting if other.is_cancelled()]:
            self._waiting.remove(request)
            self._active.append(request)
        while self._waiting and self._fits(self._waiting[0]):
            self._active.append(self._waiting.popleft())
        # not at once: who leaves may only have to be noticed
        waited = [(n, request) for n, request in enumerate(self._waiting) if request.has_waited]
        if waited and time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            for n, request in waited:
                request.tell(Waiting(len(self._active) + n))
        for request in self._waiting:
            request.has_waited = True

    def _fits(self, request: Request) -> bool:
        if not self._active:
            return True
        held = sum(other.room for other in self._active)
        if len(self._active) >= self._width or held + request.room > self._room:
            return False
        if held + request.room + self._decoder.idle_tokens > self._room:
            self._decoder.drop()
        return True

    def _chosen(self) -> list[Request]:
        answering = [request for request in self._active if request.need and not request.need.is_reading]
        reading = [request for request in self._active if request.need and request.need.is_reading]
        self._readers = deque(request for request in self._readers if request in reading)
        self._readers.extend(request for request in reading if request not in self._readers)
        self._decoder.is_shared = bool(answering)
        if not self._readers:
            return answering
        self._readers.rotate(-1)
        return [*answering, self._readers[-1]]

    # ------------------------------------------------------------------------------------------ what

    def _forward(self, chosen: list[Request]) -> None:
        needs = [request.need for request in chosen if request.need is not None]
        before = [need.row.sequence.length for need in needs]
        if self._meter:
            for request in chosen:
                self._meter.begin(id(request))
        try:
            found = self._decoder.forward(needs)
        except Exception as error:
            lost = [n.row.sequence.cut(length) != length for n, length in zip(needs, before, strict=True)]
            if len(chosen) == 1:
                self._break(chosen[0], error)
                return
            # one of them is to blame: each alone, and those that cannot be taken back fail
            for request, is_lost in zip(chosen, lost, strict=True):
                self._break(request, error) if is_lost else self._forward([request])
            return
        if self._meter:
            self._meter.note({id(request): need.count for request, need in zip(chosen, needs, strict=True)})
        for request, scores in zip(chosen, found, strict=True):
            request.need, request.scores = None, scores

    def _advance(self, request: Request) -> None:
        """Take a request on to its next need, or to its end."""
        scores, request.scores = request.scores, None
        try:
            found = next(request.events) if scores is None else request.events.send(scores)
            while not isinstance(found, Need):
                if isinstance(found, Finish):
                    self._active.remove(request)
                    found = replace(found, usage=replace(found.usage, energy_j=self._energy(request)))
                request.tell(found)
                found = next(request.events)
            request.need = found
        except StopIteration:
            request.done()
        except Exception as error:
            self._fail(request, error)

    def _break(self, request: Request, error: Exception) -> None:
        """The model failed at this request's need."""
        try:
            request.events.throw(error)
        except Exception as raised:
            self._fail(request, raised)

    def _energy(self, request: Request) -> float | None:
        return self._meter.end(id(request)) if self._meter else None

    def _fail(self, request: Request, error: Exception) -> None:
        request.events.close()
        self._energy(request)
        for group in (self._active, self._waiting):
            if request in group:
                group.remove(request)
        request.tell(error if isinstance(error, Failure) else self._name(error))
        request.done()

    def drain(self) -> None:
        """Run until nothing is left."""
        while not self.is_idle:
            self.run()
