"""Divides what a device's energy counter has counted among the requests that shared its forwards. Knows no device."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping

READ_EVERY_S = 0.1  # NVIDIA's counters move no more often; a question to the driver at each step would slow the steps


class Meter:
    """count: the counter, in mJ; None ends all measuring.

    It is read when a request begins, when one ends, and now and then between. What it counted since the last time goes to the
    requests in proportion to the tokens that each had in the forwards since, and in equal parts where there was no forward. So
    the parts of all requests add up to the counter's difference, to the mJ. What is counted while there is no request is nobody's.
    """

    def __init__(self, count: Callable[[], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._spent: dict[Hashable, int] = {}
        self._tokens: Counter[Hashable] = Counter()
        self._last, self._read_at = 0, 0.0
        self._is_broken = False

    def begin(self, who: Hashable) -> None:
        """Before each forward of a request; only the first counts."""
        if who not in self._spent:
            self._settle()
            self._spent[who] = 0

    def note(self, tokens: Mapping[Hashable, int]) -> None:
        """One forward is over; so many tokens of it were each request's."""
        self._tokens.update(tokens)
        if self._clock() - self._read_at >= READ_EVERY_S:
            self._settle()

    def end(self, who: Hashable) -> float | None:
        """Joules of a request, after its last forward; None for one that had none, and where the counter has failed."""
        if who not in self._spent:
            return None
        self._settle()
        self._tokens.pop(who, None)
        spent = self._spent.pop(who)
        return None if self._is_broken else spent / 1000

    def _settle(self) -> None:
        self._read_at = self._clock()
        now = None if self._is_broken else self._count()
        if now is None:
            self._is_broken = True
            return
        counted, self._last = now - self._last, now
        if not self._spent or not counted:  # a counter that has not moved yet: those tokens still have to be paid
            return
        shares = self._tokens or Counter(dict.fromkeys(self._spent, 1))
        total, upto, paid = shares.total(), 0, 0
        for who, share in shares.items():
            upto += share
            part = counted * upto // total - paid
            self._spent[who] += part
            paid += part
        self._tokens = Counter()
