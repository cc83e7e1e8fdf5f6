"""Parses function calls out of streamed text. What turns out not to be a call is returned as text."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Callable, Collection, Iterator

from ...protocol.events import CallPiece
from .dialect import ARGS, CALL_ID, CALLS, CLOSE, OPEN, Dialect

Piece = str | CallPiece
_LETTERS = string.ascii_letters + string.digits
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*')
_ID = re.compile("[a-zA-Z0-9]{9}")
_FENCE = re.compile(r"\s*(?:```(?:json)?\s*)?")
_NAMED = re.compile(r'\{\s*"name"\s*:\s*"([^"]*)("?)')
_LONGEST_HEAD = 300


def new_id() -> str:
    """Nine letters and digits, as Mistral's models and templates require."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


class Balance:
    """Finds the end of a JSON object or array that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._is_escaped = False
        self.has_begun = False

    @property
    def is_done(self) -> bool:
        return self.has_begun and self._depth == 0

    def take(self, text: str) -> int:
        """How many characters of `text` belong to the value."""
        for n, c in enumerate(text):
            if self.is_done:
                return n
            self._step(c)
        return len(text)

    def _step(self, c: str) -> None:
        if self._in_string:
            if self._is_escaped:
                self._is_escaped = False
            elif c == "\\":
                self._is_escaped = True
            elif c == '"':
                self._in_string = False
        elif c == '"':
            self._in_string = True
        elif c in "{[":
            self._depth += 1
            self.has_begun = True
        elif c in "}]":
            self._depth -= 1


class CallParser:
    """Takes text and marks (control tokens by name), yields text and pieces of calls. `calls` counts the calls so far.

    bare: functions whose calls are also recognized without tags at the start of an answer, as small models write them.
    """

    def __init__(self, dialect: Dialect, bare: Collection[str] = ()) -> None:
        self._dialect, self._bare = dialect, bare if dialect.kind == "tagged" else ()
        self._is_bare = False
        self._state: Callable[[str], Iterator[Piece]] = self._in_possible_call if self._bare else self._in_text
        self._waiting = ""  # text that may belong to a mark or to the head of a call
        self._space = ""  # white space that is dropped if a call follows or nothing
        self._raw = ""  # the current call as written, while it may still turn out not to be one
        self._id = ""
        self._balance = Balance()
        self.calls = 0

    @property
    def is_calling(self) -> bool:
        return self._state not in (self._in_text, self._in_possible_call)

    def text(self, text: str) -> Iterator[Piece]:
        return self._state(text) if text else iter(())

    def mark(self, name: str) -> Iterator[Piece]:
        if not self.is_calling:
            text, self._waiting, self._state = self._waiting, "", self._in_text
            yield from self._shown(text)
        if name in (OPEN, CALLS):
            yield from self._end_of_call()
            self._open(name)
        elif name == CLOSE:
            yield from self._end_of_call()
        elif name == CALL_ID and self._state == self._in_name:
            self._raw, self._state = self._waiting, self._in_id
        elif name == ARGS and self._state in (self._in_name, self._in_id):
            called = (self._waiting if self._state == self._in_name else self._raw).strip()
            yield self._begin(called, self._id.strip())
            self._state, self._balance = self._in_arguments, Balance()

    def finish(self) -> Iterator[Piece]:
        """The rest, when the answer ends."""
        if not self.is_calling:
            text, self._waiting = self._waiting, ""
            yield from self._shown(text if not self._is_bare else text.strip("`\n "))
        else:
            yield from self._end_of_call()

    # ------------------------------------------------------------------------------------------ states

    def _in_possible_call(self, text: str) -> Iterator[Piece]:
        """While the text so far could be the head of a bare call."""
        self._waiting += text
        rest = self._waiting[_FENCE.match(self._waiting).end() :]  # type: ignore[union-attr]  # it matches the empty text too
        named = _NAMED.match(rest)
        if named is not None and named[2] and named[1] in self._bare and (head := _HEAD.match(rest)) is not None:
            if len(rest) == head.end():
                return
            if rest[head.end()] == "{":
                self._open(self._waiting[: -len(rest)])
                self._is_bare = True
                yield from self._in_object(rest)
                return
        elif self._may_become_call(rest, named) and len(rest) < _LONGEST_HEAD:
            return
        waiting, self._waiting, self._state = self._waiting, "", self._in_text
        yield from self._in_text(waiting)

    def _may_become_call(self, rest: str, named: re.Match[str] | None) -> bool:
        if named is not None:
            names = self._bare
            return named[1] in names if named[2] else any(name.startswith(named[1]) for name in names)
        compact, whole = "".join(rest.split()), "".join(self._waiting.split())
        return '{"name":"'.startswith(compact) or "```json".startswith(whole)

    def _in_text(self, text: str) -> Iterator[Piece]:
        if self._dialect.kind != "tagged":
            yield from self._shown(text)
            return
        self._waiting += text
        at = self._waiting.find(OPEN)
        if at < 0:
            kept = next((n for n in range(len(OPEN) - 1, 0, -1) if self._waiting.endswith(OPEN[:n])), 0)
            cut = len(self._waiting) - kept
            shown, self._waiting = self._waiting[:cut], self._waiting[cut:]
            yield from self._shown(shown)
            return
        before, rest = self._waiting[:at], self._waiting[at + len(OPEN) :]
        self._waiting = ""
        yield from self._shown(before)
        self._open(OPEN)
        yield from self.text(rest)

    def _shown(self, text: str) -> Iterator[Piece]:
        """Hold white space back until other text follows: around calls it is only layout."""
        core = text.rstrip()
        if core:
            yield self._space + core
            self._space = text[len(core) :]
        else:
            self._space += text

    def _open(self, mark: str) -> None:
        self._raw, self._waiting, self._id, self._balance = mark, "", "", Balance()
        self._state = self._in_name if self._dialect.kind == "named" else self._in_object
        self._is_bare = False

    def _in_name(self, text: str) -> Iterator[Piece]:
        self._waiting += text
        if self._waiting.lstrip()[:1] in ("[", "{"):  # a model that uses the older dialect
            text, self._waiting, self._raw = self._waiting, "", CALLS
            self._state = self._in_object
            yield from self._in_object(text)

    def _in_id(self, text: str) -> Iterator[Piece]:
        self._id += text
        yield from ()

    def _in_object(self, text: str) -> Iterator[Piece]:
        """Before and in the head of an object with name and arguments; an array has several."""
        self._waiting += text
        if self._waiting.lstrip("[, \t\r\n")[:1] not in ("", "{"):
            if self._waiting.lstrip("[, \t\r\n").startswith("]"):
                self._leave()
            elif self._closes():
                yield from self._end_of_call()
            return
        head = _HEAD.match(self._waiting.lstrip("[, \t\r\n"))
        if head is not None and self._waiting.lstrip("[, \t\r\n")[head.end() :][:1] == "{":
            rest = self._waiting.lstrip("[, \t\r\n")[head.end() :]
            self._state, self._balance, self._waiting = self._in_arguments, Balance(), ""
            yield self._begin(json.loads(head[1], strict=False), "")
            yield from self.text(rest)
        elif self._closes():
            yield from self._end_of_call()

    def _closes(self) -> bool:
        return self._dialect.kind == "tagged" and CLOSE in self._waiting

    def _in_arguments(self, text: str) -> Iterator[Piece]:
        own = self._balance.take(text)
        if own:
            yield CallPiece(self.calls - 1, text[:own])
        if self._balance.is_done:
            self._state, self._waiting = self._after_arguments, ""
            yield from self.text(text[own:])

    def _after_arguments(self, text: str) -> Iterator[Piece]:
        """Skip to the next call or the end: an id that comes too late, brackets, a closing tag written as text."""
        self._waiting += text
        if self._is_bare:
            if "}" in self._waiting:
                rest = self._waiting.partition("}")[2]
                self._leave()
                self._state = self._in_possible_call
                yield from self.text(rest)
        elif self._dialect.kind == "tagged" and CLOSE in self._waiting:
            rest = self._waiting.partition(CLOSE)[2]
            self._leave()
            yield from self.text(rest)
        elif self._dialect.kind != "tagged" and "{" in self._waiting:
            rest = self._waiting[self._waiting.index("{") :]
            self._waiting, self._raw, self._state = "", "", self._in_object
            yield from self.text(rest)

    # ------------------------------------------------------------------------------------------ beginning, end

    def _begin(self, name: str, identity: str) -> CallPiece:
        self.calls += 1
        self._raw = self._space = ""
        return CallPiece(self.calls - 1, "", identity if _ID.fullmatch(identity) else new_id(), name)

    def _leave(self) -> None:
        self._state, self._raw, self._waiting = self._in_text, "", ""

    def _end_of_call(self) -> Iterator[Piece]:
        """End the call. One whose head was not recognized is parsed as a whole, or returned as text."""
        state, raw, waiting = self._state, self._raw, self._waiting
        self._leave()
        if state != self._in_object or not waiting.strip("[], \t\r\n"):
            return
        body, closed, rest = waiting.partition(CLOSE)
        call = _parse_whole(body)
        if call is None:
            if raw:
                yield from self._shown(raw + waiting)
            return
        name, arguments = call
        yield self._begin(name, "")
        yield CallPiece(self.calls - 1, arguments)
        if closed:
            yield from self.text(rest)


def _parse_whole(text: str) -> tuple[str, str] | None:
    """Name and arguments of a call whose fields are in another order."""
    try:
        data = json.loads(text.strip().strip("[],").strip(), strict=False)
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict) and isinstance(data.get("name"), str):
        arguments = data.get("arguments", data.get("parameters", {}))
        return data["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return None
