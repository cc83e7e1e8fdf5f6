"""Chooses by timing, once at load, how a model's 4-bit matrices are tiled, shape by shape. Knows no kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from .nf4 import Nested, Nf4
from .nf4_plan import Plan

# (a matrix, others of its shape, the `time.monotonic()` of the deadline) to the best plan, which is used from then on
Tune = Callable[[Nf4, Sequence[Nf4], float], Plan]
Shape = tuple[int, int, bool]  # rows, columns, and whether the scales are nested

# for all shapes. A kernel being compiled at the end is finished, and cached for the next load
_SECONDS = 2.0


def tuned(matrices: Iterable[Nf4], tune: Tune, seconds: float = _SECONDS) -> Iterator[tuple[Shape, Plan]]:
    """The best plan of each shape. Shapes with most weights come first; each gets an equal share of the time left."""
    alike: dict[Shape, list[Nf4]] = {}
    for weight in matrices:
        alike.setdefault((weight.rows, weight.columns, isinstance(weight.scales, Nested)), []).append(weight)
    end = time.monotonic() + seconds
    by_size = sorted(alike.items(), key=lambda pair: -sum(weight.packed.nbytes for weight in pair[1]))
    for left, (shape, (first, *others)) in zip(range(len(alike), 0, -1), by_size, strict=True):
        now = time.monotonic()
        if now >= end:
            return
        yield shape, tune(first, others, now + (end - now) / left)
