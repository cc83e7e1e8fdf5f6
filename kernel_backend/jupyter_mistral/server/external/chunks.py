"""What an engine elsewhere sends of an answer, as events: text, logprobs, calls of functions. Engines differ in all three."""

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
    """Those of the tokens in a text. top: how many rivals of each were asked for, None for no logprobs at all."""

    def __init__(self, host: str, top: int | None) -> None:
        self._host, self._top = host, top
        self._waiting: list[TokenLogprob] = []
        self._is_told = False

    def take(self, rows: Any) -> None:
        """rows: in the shape of `logprobs.content`, for the text that comes next."""
        if self._top is not None:
            for row in rows or ():
                entry = TokenLogprob.of_dict(row)
                self._waiting.append(replace(entry, top=entry.top[: self._top]))

    def with_text(self, text: Any) -> Delta:
        """Raises `Failure` where the engine leaves logprobs out that were asked for."""
        if not isinstance(text, str):
            raise TypeError(text)
        found, self._waiting = tuple(self._waiting), []
        self._is_told = self._is_told or bool(found)
        if self._top is not None and not self._is_told:
            raise Failure(
                "unsupported",
                f"The engine at {self._host} does not return logprobs.",
                "Ask without logprobs, or use vLLM, SGLang or llama.cpp.",
                "logprobs",
            )
        return Delta(text, found)


class _Calls:
    """Pieces of calls, numbered from 0 without gaps; each call's id and name stand in its first piece."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}
        self.number = 0

    def piece(self, call: Mapping[str, Any]) -> CallPiece:
        function = call.get("function") or {}
        place, told, name = int(call.get("index") or 0), call.get("id") or "", function.get("name") or ""
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # Mistral's own API may send the object itself
            arguments = json.dumps(arguments, ensure_ascii=False)
        number, known = self._open.get(place, (-1, ""))
        # some engines leave the index out, or say 0 each time: another id begins another call
        if number >= 0 and not (told and name and told != known):
            return CallPiece(number, arguments)
        if not isinstance(name, str) or not name:
            raise ValueError("a call of nothing")
        self._open[place] = self.number, str(told)
        self.number += 1
        return CallPiece(self.number - 1, arguments, str(told) or secrets.token_hex(5)[:9], name)


class ChatChunks:
    """Reads the chunks of one chat; engines put text, several calls and the end into one where they like."""

    def __init__(self, host: str, request: ChatRequest) -> None:
        self._host = host
        self._must_call = request.calling.choice == "required"
        self._logprobs = LogprobReader(host, request.top_logprobs)
        self._calls = _Calls()

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        if isinstance(chunk.get("mistral"), dict):  # a Jupyter Mistral elsewhere tells its progress
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

    def _reason(self, told: Any) -> Any:
        if self._calls.number:  # several engines say `stop`
            return "length" if told == "length" else "tool_calls"
        if self._must_call and told != "length":
            raise Failure(
                "unsupported",
                f"The engine at {self._host} called no function, though it had to.",
                "Ask with tool_choice auto, or have that engine started with calls of functions.",
                "tool_choice",
            )
        return told


class TextChunks:
    """Reads the chunks of one completion."""

    def __init__(self, host: str, top: int | None) -> None:
        self._logprobs = LogprobReader(host, top)

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        for choice in chunk.get("choices") or ():
            told = choice.get("logprobs") or {}
            self._logprobs.take(told.get("content") or _of_lists(told))
            if choice.get("text"):
                yield self._logprobs.with_text(choice["text"])
            if choice.get("finish_reason"):
                yield End(choice["finish_reason"])


class InfillChunks:
    """Reads llama.cpp's own shape for text between two texts."""

    def __init__(self, host: str, top: int | None) -> None:
        self._logprobs = LogprobReader(host, top)

    def __call__(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        self._logprobs.take(chunk.get("completion_probabilities"))
        if chunk.get("content"):
            yield self._logprobs.with_text(chunk["content"])
        if chunk.get("stop"):
            yield End("length" if chunk.get("stop_type") == "limit" or chunk.get("stopped_limit") else "stop")


def _of_lists(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists side by side, as the older completions API has them, as rows."""
    tokens, logprobs = told.get("tokens") or [], told.get("token_logprobs") or []
    tops = told.get("top_logprobs") or [None] * len(tokens)
    return [
        {**_row(token, logprob), "top_logprobs": [_row(*rival) for rival in (top or {}).items()]}
        for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
        if logprob is not None
    ]


def _row(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}
