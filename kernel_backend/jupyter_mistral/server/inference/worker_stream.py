"""One request to a worker and the events that come back, watched: a worker that stops moving is told, then ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...protocol.conversation import Message
from ...protocol.events import CallPiece, Chance, Delta, End, Event, Loading, Queued, Reading, Usage
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.requests import ChatRequest, CompletionRequest
from ...protocol.status import ModelCard
from .worker import Worker, died

# on average over a text; ordinary text has 3 to 5 characters a token
LONGEST_TOKEN = 32
_USAGE = {f.name for f in fields(Usage)}


@dataclass(frozen=True)
class Watch:
    """How long a worker may make no progress until that is told, and until it is ended; reading a prompt gets more time."""

    told_s: float = 10.0
    ended_s: float = 60.0
    read_tokens_per_s: float = 100.0


def to_generate(
    request: ChatRequest, messages: Sequence[Message], salt: str = "", gives_way: bool = False
) -> tuple[dict[str, Any], bytes]:
    """The worker's `generate` frame; pictures stand in the blob, one after the other. salt: whose prefix memory is used.
    gives_way: whether others come first."""
    images: list[Image] = []

    def content(part: str | Image) -> str | dict[str, int]:
        if isinstance(part, str):
            return part
        images.append(part)
        return {"image": len(images) - 1}

    header = {
        "type": "generate",
        "messages": [
            {
                "role": m.role,
                "content": [content(part) for part in m.content],
                "calls": [asdict(call) for call in m.tool_calls],
                "call_id": m.tool_call_id,
            }
            for m in messages
        ],
        "images": [{"mime": image.mime, "size": len(image.data)} for image in images],
        "sampling": asdict(request.sampling),
        "form": {"kind": request.form.kind, "schema": _schema(request)},
        "calling": asdict(request.calling),
        "top_logprobs": request.top_logprobs,
        "salt": salt,
        "gives_way": gives_way,
    }
    return header, b"".join(image.data for image in images)


def _schema(request: ChatRequest) -> Mapping[str, Any] | None:
    """A stock client's `json_object` is an object, as in OpenAI's API; our own clients take any JSON where no schema is given."""
    is_any = request.form.schema is None and request.form.kind == "json"
    return {"type": "object"} if is_any and request.extras.client == "api" else request.form.schema


def to_complete(request: CompletionRequest, salt: str = "") -> dict[str, Any]:
    return {
        "type": "complete",
        "prompt": request.prompt,
        "suffix": request.suffix,
        "salt": salt,
        "sampling": asdict(request.sampling),
        "top_logprobs": request.top_logprobs,
        # ghost text is worth nothing once somebody asks a question
        "gives_way": request.if_busy == "refuse",
    }


async def events_of(
    worker: Worker, header: Mapping[str, Any], blob: bytes, watch: Watch
) -> AsyncGenerator[Event, None]:
    """Ask and yield events up to the `End`; an event `Loading` tells of a stall. Raises one `Failure` instead of an end."""
    length = _length(header)
    if worker.card is not None:
        refuse_endless(length, worker.card)
    pulse = _Pulse(worker, watch, length)
    with worker.ask(header, blob) as mail:
        while True:
            try:
                frame = mail.get_nowait() if mail.qsize() else await mail.within(pulse.patience_s)
            except asyncio.TimeoutError:
                stall = await pulse.missed()
                if stall is not None:
                    yield stall
                continue
            if worker.is_stopping and (frame is None or frame.get("reason") == "cancelled"):
                raise Failure("engine_stopped", "The model was unloaded while it answered.", "Ask again to load it.")
            if frame is None:
                raise died(f"The model host died while it answered{await worker.settled()}.")
            mail.ended = frame["type"] in ("end", "error")
            try:
                event = _event(frame)
            except (KeyError, TypeError, ValueError):
                await worker.kill()
                raise died("The model host sent something that is no answer, and was ended.") from None
            pulse.felt(is_reading=not isinstance(event, (Delta, CallPiece)))
            yield event
            if mail.ended:
                return


class _Pulse:
    """How long to wait for the next frame, and what to do when none came. A worker that computes on the processor gets ten
    times as long: a large model without a GPU is slow, not dead."""

    def __init__(self, worker: Worker, watch: Watch, characters: int) -> None:
        self._worker, self._watch = worker, watch
        # two characters a token: short ones, so that the time allowed is rather long
        self._allowed_s = characters / 2 / watch.read_tokens_per_s
        self._quiet_s = self._cpu_s = 0.0

    @property
    def patience_s(self) -> float:
        watch = self._watch
        return watch.told_s + self._allowed_s if not self._quiet_s else watch.ended_s - watch.told_s

    def felt(self, is_reading: bool) -> None:
        self._quiet_s = 0.0
        if not is_reading:
            self._allowed_s = 0.0

    async def missed(self) -> Loading | None:
        """The stall to tell of, at its first sign. Raises `Failure("engine_died")`, the worker ended, when it is time."""
        is_first, waited_s = not self._quiet_s, self.patience_s
        before_s, self._cpu_s = self._cpu_s, self._worker.cpu_s()
        self._quiet_s += waited_s
        if is_first:
            return _stall(self._watch, self._quiet_s)
        is_computing = self._worker.memory.device == "cpu" and self._cpu_s - before_s > waited_s / 10
        if is_computing and self._quiet_s < 10 * self._watch.ended_s:
            return None
        await self._worker.kill()
        raise died(f"The model made no progress for {self._quiet_s:.0f} s and was ended.")


def _length(header: Mapping[str, Any]) -> int:
    """Characters of text in a request."""
    parts = [part for message in header.get("messages", ()) for part in message["content"] if isinstance(part, str)]
    return sum(map(len, parts)) + len(header.get("prompt", ""))


def refuse_endless(characters: int, card: ModelCard) -> None:
    """Refuse at once what no vocabulary gets into the context. Raises `Failure("context_too_long")`."""
    context = card.context_length
    if context and characters > LONGEST_TOKEN * context:
        raise Failure(
            "context_too_long",
            f"The prompt has {characters:,} characters; the model holds {context:,} tokens.",
            "Shorten it, or choose a model with a longer context.",
            "messages",
        )


def _stall(watch: Watch, quiet_s: float) -> Loading:
    return Loading(
        "warm", None, f"no progress for {quiet_s:.0f} s; the model is started anew after {watch.ended_s:.0f} s"
    )


def _event(frame: Mapping[str, Any]) -> Event:
    kind = frame["type"]
    if kind == "delta":
        return Delta(str(frame["text"]), tuple(Chance.of_dict(chance) for chance in frame.get("chances") or ()))
    if kind == "call":
        return CallPiece(int(frame["index"]), str(frame["arguments"]), str(frame["call_id"]), str(frame["name"]))
    if kind == "reading":
        return Reading(int(frame["done"]), int(frame["total"]), int(frame.get("reused", 0)), frame.get("eta_s"))
    if kind == "queued":
        return Queued(int(frame["position"]))
    if kind == "error":
        raise Failure.of_dict(frame["failure"])
    if kind == "end" and frame["reason"] in ("stop", "length", "tool_calls"):
        return End(
            frame["reason"], Usage(**{k: v for k, v in frame["usage"].items() if k in _USAGE and k != "left_out"})
        )
    if kind == "end" and frame["reason"] == "cancelled":
        raise Failure("cancelled", "The answer was called off.", "Ask again.")
    raise ValueError(kind)
