"""One request to a worker and its events. A worker without progress is reported, then killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from ...protocol.conversation import Message
from ...protocol.events import CallPiece, Delta, End, Event, Loading, Queued, Reading, TokenLogprob, Usage
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.requests import ChatRequest, CompletionRequest
from ...protocol.status import ModelCard
from .base import StallTimeouts
from .worker import Worker, died

# more characters per token than any text averages; ordinary text has 3 to 5
MAX_CHARACTERS_PER_TOKEN = 32
_USAGE = {f.name for f in fields(Usage)}


def to_generate(
    request: ChatRequest, messages: Sequence[Message], salt: str = "", is_background: bool = False
) -> tuple[dict[str, Any], bytes]:
    """The worker's `generate` frame; its blob is the images' bytes, concatenated. salt: selects the user's prefix cache."""
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
        "is_background": is_background,
    }
    return header, b"".join(image.data for image in images)


def _schema(request: ChatRequest) -> Mapping[str, Any] | None:
    """`json_object` of an OpenAI client means a JSON object; our own clients accept any JSON value without a schema."""
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
        # ghost text is useless once somebody asks a question
        "is_background": request.if_busy == "refuse",
    }


async def events_of(
    worker: Worker, header: Mapping[str, Any], blob: bytes, timeouts: StallTimeouts
) -> AsyncGenerator[Event, None]:
    """Send a request and yield its events up to the `End`; a `Loading` event reports a stall. Raises `Failure` instead of an end."""
    length = _length(header)
    if worker.card is not None:
        refuse_too_long(length, worker.card)
    watchdog = _Watchdog(worker, timeouts, length)
    with worker.request(header, blob) as mailbox:
        while True:
            try:
                frame = mailbox.get_nowait() if mailbox.qsize() else await mailbox.receive(watchdog.patience_s)
            except asyncio.TimeoutError:
                stall = await watchdog.timed_out()
                if stall is not None:
                    yield stall
                continue
            if worker.is_stopping and (frame is None or frame.get("reason") == "cancelled"):
                raise Failure("engine_stopped", "The model was unloaded during the answer.", "Try again to reload it.")
            if frame is None:
                raise died(await worker.exit_message())
            mailbox.is_done = frame["type"] in ("end", "error")
            try:
                event = _event(frame)
            except (KeyError, TypeError, ValueError):
                await worker.kill()
                raise died("The model process sent an invalid message and was killed.") from None
            watchdog.progressed(is_decoding=isinstance(event, (Delta, CallPiece)))
            yield event
            if mailbox.is_done:
                return


class _Watchdog:
    """How long to wait for the next frame, and what to do if none came.

    A worker that is computing on the CPU gets ten times as long: a large model without a GPU is slow, not dead.
    """

    def __init__(self, worker: Worker, timeouts: StallTimeouts, characters: int) -> None:
        self._worker, self._timeouts = worker, timeouts
        # two characters a token: an underestimate, so that prefill gets time to spare
        self._prefill_s = characters / 2 / timeouts.prefill_tokens_per_s
        self._silent_s = self._cpu_s = 0.0

    @property
    def patience_s(self) -> float:
        timeouts = self._timeouts
        if self._silent_s:
            return timeouts.kill_s - timeouts.report_s
        return timeouts.report_s + self._prefill_s

    def progressed(self, is_decoding: bool) -> None:
        self._silent_s = 0.0
        if is_decoding:
            self._prefill_s = 0.0

    async def timed_out(self) -> Loading | None:
        """The stall to report, the first time. Kills the worker and raises `Failure("engine_died")` when it had enough time."""
        is_first, waited_s = not self._silent_s, self.patience_s
        cpu_before_s, self._cpu_s = self._cpu_s, self._worker.cpu_s()
        self._silent_s += waited_s
        if is_first:
            restart_s = self._timeouts.kill_s
            detail = f"no progress for {self._silent_s:.0f} s; the model restarts after {restart_s:.0f} s"
            return Loading("warm", None, detail)
        is_computing = self._worker.memory.device == "cpu" and self._cpu_s - cpu_before_s > waited_s / 10
        if is_computing and self._silent_s < 10 * self._timeouts.kill_s:
            return None
        await self._worker.kill()
        raise died(f"The model made no progress for {self._silent_s:.0f} s and was stopped.")


def _length(header: Mapping[str, Any]) -> int:
    """Characters of text in a request."""
    parts = [part for message in header.get("messages", ()) for part in message["content"] if isinstance(part, str)]
    return sum(map(len, parts)) + len(header.get("prompt", ""))


def refuse_too_long(characters: int, card: ModelCard) -> None:
    """Raise `Failure("context_too_long")` for text that cannot fit the context with any vocabulary, without tokenizing it."""
    context = card.context_length
    if context and characters > MAX_CHARACTERS_PER_TOKEN * context:
        raise Failure(
            "context_too_long",
            f"The prompt has {characters:,} characters; the model's context is {context:,} tokens.",
            "Shorten it, or choose a model with a longer context.",
            "messages",
        )


def _event(frame: Mapping[str, Any]) -> Event:
    kind = frame["type"]
    if kind == "delta":
        return Delta(str(frame["text"]), tuple(TokenLogprob.of_dict(entry) for entry in frame.get("logprobs") or ()))
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
        raise Failure("cancelled", "The answer was cancelled.", "Try again.")
    raise ValueError(kind)
