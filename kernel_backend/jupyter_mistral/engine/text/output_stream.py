"""Turns tokens into pieces of the answer: whole characters, without stop strings, calls apart from text. Knows no model."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from ...protocol.events import CallPiece, Delta, TokenLogprob
from .dialect import MARKS, Dialect
from .tool_calls import CallParser
from .vocabulary import Detokenizer, Vocabulary


class OutputStream:
    """One answer. dialect: how calls are written, None if none may come; bare: see `CallParser`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        stops: tuple[str, ...],
        dialect: Dialect | None = None,
        bare: Collection[str] = (),
        is_new_turn: bool = True,
    ) -> None:
        self._text = Detokenizer(vocabulary, drop_first_space=is_new_turn)
        self._stops = Stops(stops)
        self._calls = CallParser(dialect, bare) if dialect is not None else None
        self._marks = {vocabulary.control[name]: name for name in MARKS if name in vocabulary.control}
        self._logprobs: deque[tuple[TokenLogprob, int]] = deque()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stops.is_met

    @property
    def has_calls(self) -> bool:
        return self._calls is not None and self._calls.calls > 0

    def add(self, token: int, entry: TokenLogprob | None = None) -> Iterator[Delta | CallPiece]:
        mark = self._marks.get(token) if self._calls is not None else None
        text = self._text.finish() if mark is not None else self._text.add(token)
        if entry is not None:
            self._logprobs.append((entry, len(text)))
        if self._calls is None:
            yield from self._events([self._stops.add(text)])
            return
        if mark is not None:
            yield from self._events(self._calls.text(self._stops.finish(text) if not self._calls.is_calling else text))
            self._stops.forget()
            yield from self._events(self._calls.mark(mark))
        else:
            yield from self._events(self._calls.text(text if self._calls.is_calling else self._stops.add(text)))

    def finish(self) -> Iterator[Delta | CallPiece]:
        text = self._text.finish()
        if self._calls is None:
            yield from self._events([self._stops.finish(text)])
            return
        is_calling = self._calls.is_calling
        yield from self._events(self._calls.text(text if is_calling else self._stops.finish(text)))
        yield from self._events(self._calls.finish())

    def _events(self, pieces: Iterable[str | CallPiece]) -> Iterator[Delta | CallPiece]:
        for piece in pieces:
            if isinstance(piece, CallPiece):
                self._logprobs.clear()  # those of call tokens, which are not part of the text
                yield piece
            elif piece:
                yield Delta(piece, self._logprobs_of(len(piece)))

    def _logprobs_of(self, length: int) -> tuple[TokenLogprob, ...]:
        """Of the tokens that make up the next `length` characters, including one that extends beyond them."""
        entries = []
        while self._logprobs and length > 0:
            entry, size = self._logprobs.popleft()
            entries.append(entry)
            length -= size
        return tuple(entries)


class Stops:
    """Holds back text that may be the start of a stop string, and drops the stop string."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._pending = ""
        self.is_met = False

    def add(self, text: str) -> str:
        """The text that may be shown now."""
        if self.is_met:
            return ""
        self._pending += text
        starts = [start for start in map(self._pending.find, self._stops) if start >= 0]
        if starts:
            self.is_met = True
            shown, self._pending = self._pending[: min(starts)], ""
            return shown
        keep = max((_overlap(self._pending, stop) for stop in self._stops), default=0)
        shown, self._pending = self._pending[: len(self._pending) - keep], self._pending[len(self._pending) - keep :]
        return shown

    def finish(self, text: str) -> str:
        shown = self.add(text)
        return shown if self.is_met else shown + self._pending

    def forget(self) -> None:
        """Call when the pending text was shown."""
        self._pending = ""


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could be the start of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
