"""One question from request to reply: stream it into a view, keep what came. Knows no flags and no commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from ...protocol.conversation import Message
from ...protocol.events import Delta, End, Event, Usage
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ..errors import MistralError, Stopped
from ..show.display import View
from . import formats
from .formats import Shown


class Asked(Protocol):
    """What answers: `client.Client`."""

    def stream_chat(self, request: ChatRequest) -> Iterator[Event]: ...


@dataclass(frozen=True)
class Outcome:
    """An answer, whole or stopped."""

    shown: Shown
    stopped: bool = False

    def check(self) -> None:
        """Raise what the user has to know: `Stopped`, or `MistralError` where the format's part did not come."""
        if self.stopped:
            raise Stopped
        if self.shown.problem:
            raise MistralError(self.shown.problem)


def ask(client: Asked, request: ChatRequest, view: View, format: str) -> Outcome:
    """Stream the answer into `view`. Raises `MistralError` where it fails; a stopped one comes back as it is.

    An answer that was to hold code and ended in words is gone on with once, from an opened code block: what was read and
    said is in the prefix memory, so that costs the code alone.
    """
    try:
        end = _stream(client, request, view)
        shown = formats.finish(format, view.text, end.reason, end.usage)
        if shown.problem and format == "code" and end.reason == "stop" and not _begun(request):
            begun = Message("assistant", (f"{view.text.rstrip()}\n\n{formats.BEGUN[format]}",))
            end = _stream(client, replace(request, messages=(*request.messages, begun)), view)
            shown = formats.finish(format, view.text, end.reason, end.usage)
    except KeyboardInterrupt:
        shown = formats.finish(format, view.text, "stopped", Usage(model=request.model or ""))
        view.finish(shown, "stopped")
        return Outcome(shown, stopped=True)
    except Failure as failure:
        view.give_up("broke off" if view.text else "no answer")
        raise MistralError.of_failure(failure) from None
    view.finish(shown, "cut at its longest: raise --max-tokens" if end.reason == "length" else "")
    return Outcome(shown)


def _begun(request: ChatRequest) -> str:
    """The beginning of the answer that the request gives."""
    last = request.messages[-1]
    return last.text if last.role == "assistant" else ""


def _stream(client: Asked, request: ChatRequest, view: View) -> End:
    """One request's events into the view, the beginning that we gave first. Raises `Failure`."""
    # of a beginning, the view has all but what was added now
    begun = _begun(request).removeprefix(view.text.rstrip())
    with closing(client.stream_chat(request)) as events:  # type: ignore[type-var]  # a generator, which has close()
        for event in events:
            if begun and isinstance(event, Delta | End):
                anew = isinstance(event, Delta) and event.text.lstrip().startswith("`")
                if not (anew and begun.lstrip().startswith("`")):  # else it opened the code block itself
                    view.take(Delta(begun))
                begun = ""
            view.take(event)
            if isinstance(event, End):
                return event
    raise AssertionError("a stream without an end raises")
