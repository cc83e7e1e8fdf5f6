"""Prompt lookup decoding: drafts the tokens that followed the same n-gram before. Often right when a cell is rewritten."""

from __future__ import annotations


class Lookup:
    """Drafts of up to `longest` tokens. A wrong draft only costs time, so drafts shrink and pause after failures."""

    def __init__(self, ids: list[int], longest: int = 16, gram: int = 3) -> None:
        self._ids = list(ids)
        self._gram, self._longest = gram, longest
        self._length, self._pause, self._failures = min(4, longest), 0, 0
        self._ends: dict[tuple[int, ...], int] = {}  # of each n-gram, where it ended last
        for end in range(gram, len(ids)):
            self._ends[tuple(ids[end - gram : end])] = end

    def add(self, token: int) -> None:
        if len(self._ids) >= self._gram:
            self._ends[tuple(self._ids[-self._gram :])] = len(self._ids)
        self._ids.append(token)

    def draft(self) -> list[int]:
        """The tokens that followed the last n-gram before; empty if it is new."""
        if self._pause:
            self._pause -= 1
            return []
        end = self._ends.get(tuple(self._ids[-self._gram :]))
        return [] if end is None else self._ids[end : end + self._length]

    def learn(self, drafted: int, accepted: int) -> None:
        """Adapt the next draft's length to how many tokens of the last one were accepted."""
        if accepted == drafted:
            self._length, self._failures = min(self._length * 2, self._longest), 0
        elif accepted == 0:
            self._failures += 1
            self._length, self._pause = min(2, self._longest), min(2**self._failures, 32)
        else:
            self._length, self._failures = max(2, accepted), 0
