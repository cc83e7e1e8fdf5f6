"""How a matrix in 4 bit is cut among a GPU's programs. Numbers alone: knows no Triton.

A cut does not depend on how many tokens there are, so the order in which a token's products are added up does not either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .nf4 import GROUP

HALF = 32  # rows that a pair of warps takes at once: their scales then need no exchange between threads
ARRIVALS = 4096  # tiles whose programs can be counted
_PROGRAMS = 600  # at the least, 4 for each multiprocessor of the largest devices: their loads hide each other's latency
_LEAST = 8  # groups of a split: with fewer, starting costs more than waiting


@dataclass(frozen=True)
class Plan:
    halves: int = 2  # of 32 rows, of one program
    groups: int = 2  # of 64 columns, of one turn
    splits: int = 1  # programs that share the columns of a row
    stages: int = 4  # the turn that is computed, and those that are loaded meanwhile

    def per(self, columns: int) -> int:
        """Groups of one split, whole turns."""
        return -(-columns // GROUP // self.splits // self.groups) * self.groups

    def tiles(self, rows: int) -> int:
        """Programs for all rows."""
        return -(-rows // (self.halves * HALF))

    def is_fit(self, rows: int, columns: int) -> bool:
        """Whether each program has something to do, and those that share rows can be counted."""
        is_shared = self.splits > 1
        return not is_shared or (
            self.tiles(rows) <= ARRIVALS and self.per(columns) * (self.splits - 1) < columns // GROUP
        )


_tuned: dict[tuple[int, int, bool], Plan] = {}


def plan(rows: int, columns: int, is_nested: bool = False) -> Plan:
    """The cut for a matrix whose scales are nested or not: what was found to be best here, else by rule."""
    return _tuned.get((rows, columns, is_nested)) or _ruled(rows, columns)


def keep(rows: int, columns: int, is_nested: bool, found: Plan) -> None:
    """Use this cut from now on."""
    assert found.is_fit(rows, columns)
    _tuned[rows, columns, is_nested] = found


def candidates(rows: int, columns: int) -> list[Plan]:
    """Cuts that are worth a try: that of the rule first, then its neighbours. Few, for each takes seconds to compile."""
    ruled = _ruled(rows, columns)
    changes: list[dict[str, int]] = [{"halves": 1}, {"halves": 4}, {"groups": 4}, {"stages": 3}, {"stages": 6}]
    changes += [{"splits": 2 * ruled.splits}, {"splits": max(1, ruled.splits // 2)}]
    cuts = [replace(ruled, **change) for change in changes]
    return [ruled, *(cut for cut in cuts if cut != ruled and cut.is_fit(rows, columns))]


def _ruled(rows: int, columns: int) -> Plan:
    """Few rows are shared among programs, in 2, 4, 8 parts, until there are enough of them."""
    found = Plan()
    while found.tiles(rows) * found.splits < _PROGRAMS and columns // GROUP >= 2 * found.splits * _LEAST:
        more = Plan(splits=2 * found.splits)
        if not more.is_fit(rows, columns):
            break
        found = more
    return found
