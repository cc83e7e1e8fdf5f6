"""Converts the chunks of an external engine to events. Engines differ in text, logprobs and function calls."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.events import CallPiece, Delta, End, Event, TokenLogprob
from ...protocol.failures import Failure
from ...protocol.requests import ChatRequest
from ...protocol.wire import of_chunk


class LogprobReader:
    """Adds logprobs to texts. top: number of alternatives requested per token, None for no logprobs."""

    def __init__(self, host: str, top: int | None) -> None:
        self._host, self._top = host, top
        self._pending: list[TokenLogprob] = []
        self._has_logprobs = False

    def take(self, rows: Any) -> None:
        """rows: as in `logprobs.content`, for the next text."""
        if self._top is not None:
            for row in rows or ():
                entry = TokenLogprob.of_dict(row)
                self._pending.append(replace(entry, top=entry.top[: self._top]))

    def with_text(self, text: Any) -> Delta:
        """Raises `Failure` if logprobs were requested but the engine sends none."""
        if not isinstance(text, str):
            raise TypeError(text)
        logprobs, self._pending = tuple(self._pending), []
        self._has_logprobs = self._has_logprobs or bool(logprobs)
        if self._top is not None and not self._has_logprobs:
            raise Failure(
                "unsupported",
                f"The engine at {self._host} does not return logprobs.",
                "Do not request logprobs, or use vLLM, SGLang or llama.cpp.",
                "logprobs",
            )
        return Delta(text, logprobs)


class _Calls:
    """Numbers function calls from 0 without gaps; each call's first piece has its id and name."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}
        self.number = 0

    def piece(self, call: Mapping[str, Any]) -> CallPiece:
        function = call.get("function") or {}
        index, call_id, name = int(call.get("index") or 0), call.get("id") or "", function.get("name") or ""
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # Mistral's own API may send an object
            arguments = json.dumps(arguments, ensure_ascii=False)
        number, open_id = self._open.get(index, (-1, ""))
        # some engines send no index, or always 0: a new id starts a new call
        if number >= 0 and not (call_id and name and call_id != open_id):
            return CallPiece(number, arguments)
        if not isinstance(name, str) or not name:
            raise ValueError("a call without a name")
        self._open[index] = self.number, str(call_id)
        self.number += 1
        return CallPiece(self.number - 1, arguments, str(call_id) or secrets.token_hex(5)[:9], name)


class ChatChunks:
    """Reads the chunks of one chat. A chunk may contain text, several calls and the end at once."""

    def __init__(self, host: str, request: ChatRequest) -> None:
        self._host = host
        self._must_call = request.calling.choice == "required"
        self._logprobs = LogprobReader(host, request.top_logprobs)
        self._calls = _Calls()

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        if isinstance(chunk.get("mistral"), dict):  # progress of another Jupyter Mistral
            event = of_chunk({**chunk, "choices": []})
            if event is not None:
                yield event
        for choice in chunk.get("choices") or ():
            yield from self._of(choice)

    def _of(self, choice: Mapping[str, Any]) -> Iterator[Event]:
        delta = choice.get("delta") or {}
        calls = delta.get("tool_calls") or ()
        if not calls:
            self._logprobs.take((choice.get("logprobs") or {}).get("content"))
        if delta.get("content"):
            yield self._logprobs.with_text(delta["content"])
        for call in calls:
            yield self._calls.piece(call)
        if choice.get("finish_reason"):
            yield End(self._reason(choice["finish_reason"]))

    def _reason(self, finish_reason: Any) -> Any:
        if self._calls.number:  # several engines send `stop`
            return "length" if finish_reason == "length" else "tool_calls"
        if self._must_call and finish_reason != "length":
            raise Failure(
                "unsupported",
                f"The engine at {self._host} called no function, although tool_choice requires it.",
                "Use tool_choice auto, or restart that engine with function calling enabled.",
                "tool_choice",
            )
        return finish_reason


class TextChunks:
    """Reads the chunks of one completion."""

    def __init__(self, host: str, top: int | None) -> None:
        self._logprobs = LogprobReader(host, top)

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        for choice in chunk.get("choices") or ():
            logprobs = choice.get("logprobs") or {}
            self._logprobs.take(logprobs.get("content") or _of_lists(logprobs))
            if choice.get("text"):
                yield self._logprobs.with_text(choice["text"])
            if choice.get("finish_reason"):
                yield End(choice["finish_reason"])


class InfillChunks:
    """Reads llama.cpp's own format for fill in the middle."""

    def __init__(self, host: str, top: int | None) -> None:
        self._logprobs = LogprobReader(host, top)

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        self._logprobs.take(chunk.get("completion_probabilities"))
        if chunk.get("content"):
            yield self._logprobs.with_text(chunk["content"])
        if chunk.get("stop"):
            yield End("length" if chunk.get("stop_type") == "limit" or chunk.get("stopped_limit") else "stop")


def _of_lists(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows from the parallel lists of the older completions API."""
    tokens, logprobs = lists.get("tokens") or [], lists.get("token_logprobs") or []
    tops = lists.get("top_logprobs") or [None] * len(tokens)
    return [
        {**_row(token, logprob), "top_logprobs": [_row(*alternative) for alternative in (top or {}).items()]}
        for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
        if logprob is not None
    ]


def _row(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}
