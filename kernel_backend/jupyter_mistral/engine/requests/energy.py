"""Divides the energy that a device counted among the requests that shared its forwards. Knows no device."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping

READ_EVERY_S = (
    0.1  # NVIDIA's counters are updated no more often, and asking the driver at each step would slow the steps
)


class Meter:
    """count: the counter in mJ; None ends all measuring.

    The counter is read when a request begins or ends, and now and then in between. The difference is divided in proportion to
    the tokens of each request in the forwards since the last reading, or equally if there was no forward. So the shares add up
    to the counter's difference, to the mJ. Energy used while there is no request belongs to none.
    """

    def __init__(self, count: Callable[[], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._spent: dict[Hashable, int] = {}
        self._tokens: Counter[Hashable] = Counter()
        self._last, self._read_at = 0, 0.0
        self._is_broken = False

    def begin(self, who: Hashable) -> None:
        """Call before each forward of a request; only the first call counts."""
        if who not in self._spent:
            self._distribute()
            self._spent[who] = 0

    def note(self, tokens: Mapping[Hashable, int]) -> None:
        """One forward is over; `tokens` says how many of its tokens were each request's."""
        self._tokens.update(tokens)
        if self._clock() - self._read_at >= READ_EVERY_S:
            self._distribute()

    def end(self, who: Hashable) -> float | None:
        """Joules of a request, after its last forward; None if it had none or the counter has failed."""
        if who not in self._spent:
            return None
        self._distribute()
        self._tokens.pop(who, None)
        spent = self._spent.pop(who)
        return None if self._is_broken else spent / 1000

    def _distribute(self) -> None:
        self._read_at = self._clock()
        now = None if self._is_broken else self._count()
        if now is None:
            self._is_broken = True
            return
        counted, self._last = now - self._last, now
        if not self._spent or not counted:  # the counter has not moved yet: these tokens are charged later
            return
        shares = self._tokens or Counter(dict.fromkeys(self._spent, 1))
        total, upto, paid = shares.total(), 0, 0
        for who, share in shares.items():
            upto += share
            part = counted * upto // total - paid
            self._spent[who] += part
            paid += part
        self._tokens = Counter()
