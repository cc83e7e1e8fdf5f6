"""The pieces of a prompt, the ledger of their tokens, and a counter that caches counts."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from ...protocol.images import Image

Count: TypeAlias = Callable[[list[str]], list[int]]
State: TypeAlias = Literal["whole", "shortened", "dropped"]


@dataclass(frozen=True)
class Piece:
    """A part of a prompt.

    Its text starts with an ASCII character and ends with a visible character and one newline. No tokenizer merges across such
    a boundary, so the tokens of the pieces add up to the tokens of the prompt.
    """

    segment: str
    text: str
    cell: int | None = None
    state: State = "whole"
    why: str = ""


def piece(segment: str, text: str, cell: int | None = None, state: State = "whole", why: str = "") -> Piece:
    return Piece(segment, text.rstrip() + "\n", cell, state, why)


@dataclass(frozen=True)
class Segment:
    """A line of the ledger: its tokens in the prompt (0 unless `kept`), and why it was shortened or dropped."""

    segment: str
    tokens: int
    cell: int | None = None
    kept: bool = True
    state: State = "whole"
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Counter:
    """Counts tokens and caches the counts: only new texts go to the tokenizer, all in one call."""

    def __init__(self, count: Count, size: int = 100_000) -> None:
        self._count = count
        self._size = size
        self._cached: OrderedDict[bytes, int] = OrderedDict()

    def __call__(self, texts: list[str]) -> list[int]:
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._cached}
        if new:
            self._cached.update(zip(new, self._count(list(new.values())), strict=True))
        counts = [self._cached[key] for key in keys]
        for key in keys:
            self._cached.move_to_end(key)
        while len(self._cached) > self._size:
            self._cached.popitem(last=False)
        return counts

    def pieces(self, pieces: Sequence[Piece]) -> list[int]:
        return self([p.text for p in pieces])

    def total(self, pieces: Sequence[Piece]) -> int:
        return sum(self.pieces(pieces))


def runs(content: Iterable[str | Image]) -> list[str | Image]:
    """The content with neighbouring texts joined, as in a prompt."""
    joined: list[str | Image] = []
    for part in content:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def counter(count: Count) -> Counter:
    """The caller's own `Counter`, so that its counts outlive one prompt, or a new one."""
    return count if isinstance(count, Counter) else Counter(count)
