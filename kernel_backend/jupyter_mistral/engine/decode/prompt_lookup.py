"""Guesses the next tokens by looking up where the last few stood before. Right often when a cell is being rewritten."""

from __future__ import annotations


class Lookup:
    """Drafts of up to `longest` tokens. Being wrong costs only time, so they shrink and pause when they fail."""

    def __init__(self, ids: list[int], longest: int = 16, gram: int = 3) -> None:
        self._ids = list(ids)
        self._gram, self._longest = gram, longest
        self._draft, self._pause, self._failures = min(4, longest), 0, 0
        self._places: dict[tuple[int, ...], int] = {}
        for end in range(gram, len(ids)):
            self._places[tuple(ids[end - gram : end])] = end

    def add(self, token: int) -> None:
        if len(self._ids) >= self._gram:
            self._places[tuple(self._ids[-self._gram :])] = len(self._ids)
        self._ids.append(token)

    def draft(self) -> list[int]:
        """What stood after the same tokens last time; empty where there is nothing to look up."""
        if self._pause:
            self._pause -= 1
            return []
        place = self._places.get(tuple(self._ids[-self._gram :]))
        return [] if place is None else self._ids[place : place + self._draft]

    def learn(self, drafted: int, right: int) -> None:
        if right == drafted:
            self._draft, self._failures = min(self._draft * 2, self._longest), 0
        elif right == 0:
            self._failures += 1
            self._draft, self._pause = min(2, self._longest), min(2**self._failures, 32)
        else:
            self._draft, self._failures = max(2, right), 0
