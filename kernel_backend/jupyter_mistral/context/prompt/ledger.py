"""What a prompt is made of: pieces of text with a boundary that tokenizers keep, and the exact tokens of each."""

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
    """A part of a prompt. Its text starts with a fixed ASCII sign and ends with one newline after a visible sign: at such
    a seam no tokenizer merges across, so the tokens of pieces add up to the tokens of the whole."""

    segment: str
    text: str
    cell: int | None = None
    state: State = "whole"
    why: str = ""


def piece(segment: str, text: str, cell: int | None = None, state: State = "whole", why: str = "") -> Piece:
    return Piece(segment, text.rstrip() + "\n", cell, state, why)


@dataclass(frozen=True)
class Segment:
    """A line of the ledger: `tokens` that stand in the prompt (0 where `kept` is false), and why it is not whole."""

    segment: str
    tokens: int
    cell: int | None = None
    kept: bool = True
    state: State = "whole"
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Counter:
    """Token counts that remember: only text that was never seen is given to the tokenizer, all of it in one call."""

    def __init__(self, count: Count, size: int = 100_000) -> None:
        self._count = count
        self._size = size
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def __call__(self, texts: list[str]) -> list[int]:
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new:
            counts = self._count(list(new.values()))
            self._known.update(zip(new, counts, strict=True))
        found = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return found

    def pieces(self, pieces: Sequence[Piece]) -> list[int]:
        return self([p.text for p in pieces])

    def total(self, pieces: Sequence[Piece]) -> int:
        return sum(self.pieces(pieces))


def runs(content: Iterable[str | Image]) -> list[str | Image]:
    """Neighbouring texts joined, the way a prompt has them; pictures stand between."""
    found: list[str | Image] = []
    for part in content:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found


def counter(count: Count) -> Counter:
    """The counter itself where the caller keeps one, so that counts outlive one prompt."""
    return count if isinstance(count, Counter) else Counter(count)
