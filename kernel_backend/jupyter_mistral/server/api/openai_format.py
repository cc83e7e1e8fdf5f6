"""Converts events to the formats of the OpenAI and Mistral APIs: chunks of a stream, or a complete answer. Independent of HTTP."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...protocol.events import CallPiece, Delta, Embeddings, End, Event, TokenLogprob, Usage
from ...protocol.wire import to_chunk

Numbered = tuple[int, Event]  # index of the answer (see `n`), its event


def total(ends: Iterable[End]) -> Usage:
    """The usage of several answers to one prompt, which is counted once."""
    first, *others = [end.usage for end in ends] or [Usage()]
    tokens = first.completion_tokens + sum(usage.completion_tokens for usage in others)
    seconds = round(first.seconds + sum(usage.seconds for usage in others), 4)
    energy = None if first.energy_j is None else round(first.energy_j + sum(u.energy_j or 0 for u in others), 3)
    return replace(first, completion_tokens=tokens, seconds=seconds, energy_j=energy)


class Format:
    """What all chunks of an answer have in common."""

    def __init__(self, model: Callable[[], str], kind: str, prefix: str) -> None:
        self._model, self._kind = model, kind
        self._id, self._created = f"{prefix}-{secrets.token_hex(12)}", int(time.time())
        self._ends: dict[int, End] = {}

    @property
    def base(self) -> dict[str, Any]:
        return {"id": self._id, "object": self._kind, "created": self._created, "model": self._model()}

    @property
    def usage(self) -> dict[str, Any]:
        return total(self._ends.values()).to_dict()

    async def usage_chunk(self) -> Mapping[str, Any]:
        """The last chunk if the client asked for `include_usage`."""
        return {**self.base, "choices": [], "usage": self.usage}

    def note(self, numbered: Numbered) -> None:
        index, event = numbered
        if isinstance(event, End):
            self._ends[index] = event


class ChatStream(Format):
    """Chunks of a chat. has_progress: include progress, and usage in the last chunk, for our own clients."""

    def __init__(self, model: Callable[[], str], has_progress: bool, include_usage: bool) -> None:
        super().__init__(model, "chat.completion.chunk", "chatcmpl")
        self._has_progress, self._include_usage = has_progress, include_usage
        self._started: set[int] = set()

    def chunk(self, numbered: Numbered) -> dict[str, Any] | None:
        self.note(numbered)
        index, event = numbered
        if not isinstance(event, (Delta, CallPiece, End)):
            return to_chunk(event, self.base) if self._has_progress else None
        chunk = to_chunk(event, self.base)
        choice = chunk["choices"][0]
        choice["index"] = index
        if index not in self._started and not isinstance(event, End):
            self._started.add(index)
            choice["delta"] = {"role": "assistant", "content": None, **choice["delta"]}
        if not self._has_progress:
            chunk.pop("usage", None)
            if self._include_usage:
                chunk["usage"] = None
        return chunk


class TextStream(Format):
    """Chunks of a completion. is_fim: in the format of Mistral's fill in the middle."""

    def __init__(self, model: Callable[[], str], include_usage: bool, is_fim: bool = False) -> None:
        kind, prefix = ("chat.completion.chunk", "fim") if is_fim else ("text_completion", "cmpl")
        super().__init__(model, kind, prefix)
        self._include_usage, self._is_fim = include_usage, is_fim
        self._offsets: dict[int, int] = {}

    def chunk(self, numbered: Numbered) -> dict[str, Any] | None:
        self.note(numbered)
        index, event = numbered
        if not isinstance(event, (Delta, End)):
            return None
        text, reason = (event.text, None) if isinstance(event, Delta) else ("", event.reason)
        if self._is_fim:
            choice = {"index": index, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}
            usage = {"usage": self.usage} if reason else {}
            return {**self.base, "choices": [choice], **usage}
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        logprobs = event.logprobs if isinstance(event, Delta) else ()
        choice = _text(index, text, reason, logprobs, offset)
        return {**self.base, "choices": [choice], **({"usage": None} if self._include_usage else {})}


@dataclass
class _Choice:
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)


class Complete(Format):
    """A complete answer, not streamed."""

    def __init__(self, model: Callable[[], str], kind: str, prefix: str, has_logprobs: bool = False) -> None:
        super().__init__(model, kind, prefix)
        self._has_logprobs = has_logprobs
        self._choices: dict[int, _Choice] = {}

    def add(self, numbered: Numbered) -> None:
        self.note(numbered)
        index, event = numbered
        choice = self._choices.setdefault(index, _Choice())
        if isinstance(event, Delta):
            choice.texts.append(event.text)
            choice.logprobs += event.logprobs
        elif isinstance(event, CallPiece):
            if event.index >= len(choice.calls):
                function = {"name": event.name, "arguments": ""}
                choice.calls.append({"id": event.id, "type": "function", "function": function})
            choice.calls[event.index]["function"]["arguments"] += event.arguments

    def chat(self) -> dict[str, Any]:
        choices = []
        for index, choice in sorted(self._choices.items()):
            text = "".join(choice.texts)
            message: dict[str, Any] = {"role": "assistant", "content": text or (None if choice.calls else "")}
            if choice.calls:
                message["tool_calls"] = choice.calls
            row: dict[str, Any] = {"index": index, "message": message, "finish_reason": self._ends[index].reason}
            if self._has_logprobs:
                row["logprobs"] = {"content": [entry.to_dict() for entry in choice.logprobs], "refusal": None}
            choices.append(row)
        return {**self.base, "choices": choices, "usage": self.usage}

    def text(self) -> dict[str, Any]:
        choices = [
            _text(index, "".join(choice.texts), self._ends[index].reason, choice.logprobs, 0)
            for index, choice in sorted(self._choices.items())
        ]
        return {**self.base, "choices": choices, "usage": self.usage}


def embeddings_to_json(embeddings: Embeddings, is_base64: bool) -> dict[str, Any]:
    """The answer of `/embeddings`. is_base64: encode each vector as little-endian 32-bit floats."""
    rows: list[Any] = [list(vector) for vector in embeddings.vectors]
    if is_base64:
        rows = [base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() for row in rows]
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": embeddings.prompt_tokens, "total_tokens": embeddings.prompt_tokens}
    return {"object": "list", "data": data, "model": embeddings.model, "usage": usage}


def _text(index: int, text: str, reason: str | None, logprobs: Iterable[TokenLogprob], offset: int) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": _legacy(list(logprobs), offset), "finish_reason": reason}


def _legacy(logprobs: list[TokenLogprob], offset: int) -> dict[str, Any] | None:
    """`logprobs` in the format of the older completions API: parallel lists."""
    if not logprobs:
        return None
    offsets = []
    for entry in logprobs:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in logprobs],
        "token_logprobs": [entry.logprob for entry in logprobs],
        "top_logprobs": [{rival.token: rival.logprob for rival in entry.top} for entry in logprobs],
        "text_offset": offsets,
    }
