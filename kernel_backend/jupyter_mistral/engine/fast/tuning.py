"""Once, at load: how a model's 4-bit matrices are cut is chosen by timing, shape by shape. Knows no kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from .nf4 import Nested, Nf4
from .nf4_plan import Plan

# the best cut for a matrix, with the others of its shape, found until `time.monotonic()` says so; it is used from then on
Tune = Callable[[Nf4, Sequence[Nf4], float], Plan]
Shape = tuple[int, int, bool]  # rows, columns, and whether the scales are nested

# for all shapes. A kernel that is compiled meanwhile is finished first, and is there at the next load
_SECONDS = 2.0


def tuned(matrices: Iterable[Nf4], tune: Tune, seconds: float = _SECONDS) -> Iterator[tuple[Shape, Plan]]:
    """What was found for each shape; those of most weights come first, each has an equal share of the time that is left."""
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
