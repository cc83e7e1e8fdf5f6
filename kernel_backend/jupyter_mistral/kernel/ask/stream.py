"""Streams one answer from a request into a view. Knows no flags and no commands."""

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
from ..show.reply import FormattedAnswer
from . import formats

LENGTH_NOTE = "Cut off at the token limit; raise --max-tokens."


class ChatClient(Protocol):
    """Implemented by `host.client.Client`."""

    def stream_chat(self, request: ChatRequest) -> Iterator[Event]: ...


@dataclass(frozen=True)
class Outcome:
    """An answer, complete or stopped."""

    answer: FormattedAnswer
    is_stopped: bool = False

    def check(self) -> None:
        """Raise `Stopped`, or `MistralError` if the answer lacks what its format asked for."""
        if self.is_stopped:
            raise Stopped
        if self.answer.problem:
            raise MistralError(self.answer.problem)


def stream_answer(client: ChatClient, request: ChatRequest, view: View, kind: str) -> Outcome:
    """Stream the answer, of format `kind`, into `view`. Raises `MistralError` if it fails; an interrupt returns what arrived.

    An answer that should contain code but ends in prose is continued once, from an opened code block. The prompt and the
    prose are in the prefix cache by then, so only the code costs time.
    """
    try:
        end = _stream(client, request, view)
        answer = formats.finish(kind, view.text, end.reason, end.usage)
        if answer.problem and kind == "code" and end.reason == "stop" and not _prefill_of(request):
            prefill = Message("assistant", (f"{view.text.rstrip()}\n\n{formats.PREFILLS[kind]}",))
            end = _stream(client, replace(request, messages=(*request.messages, prefill)), view)
            answer = formats.finish(kind, view.text, end.reason, end.usage)
    except KeyboardInterrupt:
        answer = formats.finish(kind, view.text, "stopped", Usage(model=request.model or ""))
        view.finish(answer, "stopped")
        return Outcome(answer, is_stopped=True)
    except Failure as failure:
        view.give_up("interrupted by an error" if view.text else "no answer")
        raise MistralError.of_failure(failure) from None
    view.finish(answer, LENGTH_NOTE if end.reason == "length" else "")
    return Outcome(answer)


def _prefill_of(request: ChatRequest) -> str:
    """The start of the answer, if the request supplies one."""
    last = request.messages[-1]
    return last.text if last.role == "assistant" else ""


def _stream(client: ChatClient, request: ChatRequest, view: View) -> End:
    """Send one request's events to the view, after the prefill that we supplied. Raises `Failure`."""
    # the view already has all of the prefill except what was added just now
    prefill = _prefill_of(request).removeprefix(view.text.rstrip())
    with closing(client.stream_chat(request)) as events:  # type: ignore[type-var]  # a generator, which has close()
        for event in events:
            if prefill and isinstance(event, Delta | End):
                opens_fence = isinstance(event, Delta) and event.text.lstrip().startswith("`")
                if not (
                    opens_fence and prefill.lstrip().startswith("`")
                ):  # else the model opened the code block itself
                    view.take(Delta(prefill))
                prefill = ""
            view.take(event)
            if isinstance(event, End):
                return event
    raise AssertionError("a stream without an end raises")
