"""Decides which requests share the next forward: all that decode, and one chunk of those in prefill, in turn.

So an answer never waits for more than one chunk of another request's prompt. A request is a generator of events and needs
(`answer.py`); this module does not know what is asked.
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
from .answer import AnswerEvents, Finish
from .energy import Meter

REPORT_EVERY_S = 2.0


@dataclass
class Request:
    """One request.

    events: a generator that has not started. room: tokens that it may use. send: called with its events, its failure and its
    queue position. done: called once, at the end. is_background: ghost text, which is dropped when a question comes.
    """

    events: AnswerEvents
    room: int
    send: Callable[[object], None]
    done: Callable[[], None]
    is_cancelled: Callable[[], bool]
    is_background: bool = False
    need: Need | None = field(default=None, init=False)
    scores: torch.Tensor | None = field(default=None, init=False)
    has_waited: bool = field(default=False, init=False)


@dataclass(frozen=True)
class Queued:
    """`position` requests are served first, because there is no memory for more at once."""

    position: int


class Schedule:
    """Runs at most `width` requests at once, with at most `room` tokens together; the others wait in order.

    to_failure: turns an exception of the model into a failure for the user. meter: None if the device counts no energy.
    """

    def __init__(
        self,
        decoder: Decoder,
        width: int,
        room: int,
        to_failure: Callable[[Exception], Failure],
        meter: Meter | None = None,
    ) -> None:
        self._decoder, self._width, self._room, self._to_failure = decoder, width, room, to_failure
        self._meter = meter
        self._active: list[Request] = []
        self._waiting: deque[Request] = deque()
        self._prefilling: deque[Request] = deque()
        self._reported = 0.0

    @property
    def is_idle(self) -> bool:
        return not self._active and not self._waiting

    def add(self, request: Request) -> None:
        """A question drops all ghost text at once."""
        if not request.is_background:
            for other in [*self._active, *self._waiting]:
                if other.is_background:
                    self._fail(other, Failure("busy", "A question took priority.", "Try again in a few seconds."))
        self._waiting.append(request)

    def run(self) -> None:
        """Run one forward and send what comes of it."""
        self._admit()
        for request in list(self._active):
            if request.need is None:
                self._advance(request)
        chosen = self._choose()
        if chosen:
            self._forward(chosen)

    # ------------------------------------------------------------------------------------------ who

    def _admit(self) -> None:
        """Admit in order, so that a long prompt is not overtaken for ever. Cancelled requests only need to be told."""
        for request in [other for other in self._waiting if other.is_cancelled()]:
            self._waiting.remove(request)
            self._active.append(request)
        while self._waiting and self._fits(self._waiting[0]):
            self._active.append(self._waiting.popleft())
        # not in the first round: another request may be about to end
        waited = [(n, request) for n, request in enumerate(self._waiting) if request.has_waited]
        if waited and time.monotonic() - self._reported > REPORT_EVERY_S:
            self._reported = time.monotonic()
            for n, request in waited:
                request.send(Queued(len(self._active) + n))
        for request in self._waiting:
            request.has_waited = True

    def _fits(self, request: Request) -> bool:
        if not self._active:
            return True
        used = sum(other.room for other in self._active)
        if len(self._active) >= self._width or used + request.room > self._room:
            return False
        if used + request.room + self._decoder.idle_tokens > self._room:
            self._decoder.free_idle()
        return True

    def _choose(self) -> list[Request]:
        decoding = [request for request in self._active if request.need and not request.need.is_prefill]
        prefilling = [request for request in self._active if request.need and request.need.is_prefill]
        self._prefilling = deque(request for request in self._prefilling if request in prefilling)
        self._prefilling.extend(request for request in prefilling if request not in self._prefilling)
        self._decoder.is_shared = bool(decoding)
        if not self._prefilling:
            return decoding
        self._prefilling.rotate(-1)
        return [*decoding, self._prefilling[-1]]

    # ------------------------------------------------------------------------------------------ what

    def _forward(self, chosen: list[Request]) -> None:
        needs = [request.need for request in chosen if request.need is not None]
        before = [need.row.sequence.length for need in needs]
        if self._meter:
            for request in chosen:
                self._meter.begin(id(request))
        try:
            scores = self._decoder.forward(needs)
        except Exception as error:
            lost = [n.row.sequence.cut(length) != length for n, length in zip(needs, before, strict=True)]
            if len(chosen) == 1:
                self._break(chosen[0], error)
                return
            # one of them is to blame: run each alone, and fail those that cannot be cut back
            for request, is_lost in zip(chosen, lost, strict=True):
                self._break(request, error) if is_lost else self._forward([request])
            return
        if self._meter:
            self._meter.note({id(request): need.count for request, need in zip(chosen, needs, strict=True)})
        for request, own in zip(chosen, scores, strict=True):
            request.need, request.scores = None, own

    def _advance(self, request: Request) -> None:
        """Run a request up to its next need or its end."""
        scores, request.scores = request.scores, None
        try:
            event = next(request.events) if scores is None else request.events.send(scores)
            while not isinstance(event, Need):
                if isinstance(event, Finish):
                    self._active.remove(request)
                    event = replace(event, usage=replace(event.usage, energy_j=self._energy(request)))
                request.send(event)
                event = next(request.events)
            request.need = event
        except StopIteration:
            request.done()
        except Exception as error:
            self._fail(request, error)

    def _break(self, request: Request, error: Exception) -> None:
        """Raise the model's error inside the request, so that it can clean up."""
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
        request.send(error if isinstance(error, Failure) else self._to_failure(error))
        request.done()

    def drain(self) -> None:
        """Run until no request is left."""
        while not self.is_idle:
            self.run()
