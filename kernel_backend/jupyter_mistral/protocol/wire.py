"""How messages become bytes and back: strict JSON, frames between server and worker, SSE. Standard library only."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from .events import PROGRESS, CallPiece, Delta, End, Event, TokenLogprob, Usage
from .failures import Failure

MAX_DEPTH = 64
MAX_INTEGER = 2**53
MAX_FRAME = 64 * 2**20
_HEAD = struct.Struct(">II")
_SURROGATE = re.compile("[\ud800-\udfff]")


# ---------------------------------------------------------------------------------------------- strict JSON


def read_json(raw: bytes) -> Any:
    """Parse UTF-8 JSON from outside: no NaN or 1e999, no key twice in one object, no integer beyond 2**53, depth at most 64.

    Lone surrogates become U+FFFD, since they cannot be written again. Raises `Failure("bad_request")`, never anything else.
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except Failure:
        raise
    except UnicodeDecodeError:
        raise _invalid("is not UTF-8") from None
    except RecursionError:
        raise _invalid(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # of thousands of digits
            raise _invalid("contains an integer beyond 2**53") from None
        raise _invalid(f"is not JSON ({error})") from None
    _check_depth_and_numbers(value)
    is_escaped = b"\\ud" in raw or b"\\uD" in raw  # no other way to write half a surrogate pair in UTF-8
    return _without_surrogates(value) if is_escaped else value


def _invalid(problem: str) -> Failure:
    return Failure("bad_request", f"The request body {problem}.", "Send one JSON object in UTF-8.")


def _refuse_constant(name: str) -> float:
    raise _invalid(f"contains {name}, which is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _invalid("has a key twice in one object")
    return unique


def _check_depth_and_numbers(value: Any) -> None:
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 2):
        inner: list[Any] = []
        for container in level:
            for member in container.values() if isinstance(container, dict) else container:
                kind = type(member)
                if kind is dict or kind is list:
                    inner.append(member)
                elif kind is int and not -MAX_INTEGER <= member <= MAX_INTEGER:
                    raise _invalid("contains an integer beyond 2**53")
                elif kind is float and not math.isfinite(member):
                    raise _invalid("contains a number beyond the range of a double")
        level = inner
        if not level:
            return
    raise _invalid(f"is nested deeper than {MAX_DEPTH} levels")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


# ---------------------------------------------------------------------------------------------- frames


def to_frame(header: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """One frame of the worker's socket: two big-endian 32-bit lengths, a JSON object, raw bytes. Never pickle."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    assert len(text) + len(blob) <= MAX_FRAME, "frame too large"
    return _HEAD.pack(len(text), len(blob)) + text + blob


class FrameReader:
    """Splits a byte stream into frames; buffers at most one incomplete frame (64 MB)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield each (header, blob) that `data` completes. Raises ValueError on malformed input; drop the connection then."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            n_text, n_blob = _HEAD.unpack_from(self._buffer)
            if n_text + n_blob > MAX_FRAME:
                raise ValueError(f"frame of {n_text + n_blob} bytes")
            end = _HEAD.size + n_text + n_blob
            if len(self._buffer) < end:
                return
            try:
                header = json.loads(self._buffer[_HEAD.size : _HEAD.size + n_text])
            except RecursionError:
                raise ValueError("frame nested too deep") from None
            if not isinstance(header, dict) or not isinstance(header.get("type"), str):
                raise ValueError("frame without a type")
            blob = bytes(self._buffer[_HEAD.size + n_text : end])
            del self._buffer[:end]
            yield header, blob


# ---------------------------------------------------------------------------------------------- server-sent events

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def to_sse(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n\n"


def to_chunk(event: Event, base: Mapping[str, Any]) -> dict[str, Any]:
    """An event as a `chat.completion.chunk`; `base` holds id, object, created and model.

    Progress has no choices but a field `mistral`; the end has `finish_reason` and `usage` in one chunk.
    """
    if isinstance(event, Delta):
        choice: dict[str, Any] = {"index": 0, "delta": {"content": event.text}, "finish_reason": None}
        if event.logprobs:
            choice["logprobs"] = {"content": [entry.to_dict() for entry in event.logprobs], "refusal": None}
        return {**base, "choices": [choice]}
    if isinstance(event, CallPiece):
        return {**base, "choices": [{"index": 0, "delta": {"tool_calls": [_call(event)]}, "finish_reason": None}]}
    if isinstance(event, End):
        choices = [{"index": 0, "delta": {}, "finish_reason": event.reason}]
        return {**base, "choices": choices, "usage": event.usage.to_dict()}
    name = next(name for name, kind in PROGRESS.items() if isinstance(event, kind))
    return {**base, "choices": [], "mistral": {"event": name, **asdict(event)}}


def _call(piece: CallPiece) -> dict[str, Any]:
    function = {"name": piece.name, "arguments": piece.arguments} if piece.name else {"arguments": piece.arguments}
    start = {"id": piece.id, "type": "function"} if piece.id else {}
    return {"index": piece.index, **start, "function": function}


def of_chunk(chunk: Mapping[str, Any]) -> Event | None:
    """The event of a chunk, None if it has none for us. An error chunk raises its `Failure`."""
    if chunk.get("error"):
        raise Failure.of_dict(chunk["error"])
    progress = chunk.get("mistral") or {}
    kind = PROGRESS.get(progress.get("event", ""))
    if kind is not None:
        return kind(**{k: v for k, v in progress.items() if k != "event"})
    for choice in chunk.get("choices") or ():
        if choice.get("finish_reason"):
            return End(choice["finish_reason"], Usage.of_dict(chunk.get("usage") or {}))
        delta = choice.get("delta") or {}
        if delta.get("content"):
            logprobs = (choice.get("logprobs") or {}).get("content") or ()
            return Delta(delta["content"], tuple(TokenLogprob.of_dict(entry) for entry in logprobs))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            arguments, call_id, name = (function.get("arguments"), call.get("id"), function.get("name"))
            return CallPiece(int(call.get("index") or 0), arguments or "", call_id or "", name or "")
    return None


def events_of_sse(lines: Iterator[bytes]) -> Iterator[Event]:
    """The events of an SSE body, line by line. Raises `Failure("engine_died")` if the body ends early."""
    ended = False
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = of_chunk(json.loads(data))
        if event is not None:
            ended = ended or isinstance(event, End)
            yield event
    if not ended:
        raise _interrupted()


def chunks_of_sse(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The chunks of an SSE body. Raises the `Failure` of an error chunk, and `engine_died` if the body ends early."""
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        if chunk.get("error"):
            raise Failure.of_dict(chunk["error"])
        yield chunk
    raise _interrupted()


def _interrupted() -> Failure:
    return Failure(
        "engine_died",
        "The answer was interrupted: the model process stopped.",
        "Try again. `%mistral status` shows its state.",
    )
