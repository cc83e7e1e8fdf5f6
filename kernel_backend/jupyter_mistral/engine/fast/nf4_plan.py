"""How a 4-bit matrix is tiled over a GPU's programs. Only numbers; knows no Triton.

A plan does not depend on the number of tokens, so neither does the order in which a token's products are summed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .nf4 import GROUP

HALF = 32  # rows of a pair of warps: their scales then need no exchange between threads
ARRIVALS = 4096  # tiles whose programs can be counted
_PROGRAMS = 600  # at least 4 per multiprocessor of the largest devices, so that their loads hide each other's latency
_LEAST = 8  # groups per split: with fewer, starting a program costs more than waiting


@dataclass(frozen=True)
class Plan:
    halves: int = 2  # halves of 32 rows per program
    groups: int = 2  # groups of 64 columns per iteration
    splits: int = 1  # programs that share the columns of a row
    stages: int = 4  # the iteration being computed, and those being loaded meanwhile

    def per(self, columns: int) -> int:
        """Groups of one split, in whole iterations."""
        return -(-columns // GROUP // self.splits // self.groups) * self.groups

    def tiles(self, rows: int) -> int:
        """Programs for all rows."""
        return -(-rows // (self.halves * HALF))

    def is_fit(self, rows: int, columns: int) -> bool:
        """Whether each program has work, and programs that share rows can be counted."""
        is_shared = self.splits > 1
        return not is_shared or (
            self.tiles(rows) <= ARRIVALS and self.per(columns) * (self.splits - 1) < columns // GROUP
        )


_tuned: dict[tuple[int, int, bool], Plan] = {}


def plan(rows: int, columns: int, is_nested: bool = False) -> Plan:
    """The plan for a matrix: the tuned one if there is one, else by rule."""
    return _tuned.get((rows, columns, is_nested)) or _ruled(rows, columns)


def keep(rows: int, columns: int, is_nested: bool, tuned: Plan) -> None:
    """Use this plan from now on."""
    assert tuned.is_fit(rows, columns)
    _tuned[rows, columns, is_nested] = tuned


def candidates(rows: int, columns: int) -> list[Plan]:
    """Plans worth timing: the rule's, then its neighbours. Few, because each takes seconds to compile."""
    ruled = _ruled(rows, columns)
    changes: list[dict[str, int]] = [{"halves": 1}, {"halves": 4}, {"groups": 4}, {"stages": 3}, {"stages": 6}]
    changes += [{"splits": 2 * ruled.splits}, {"splits": max(1, ruled.splits // 2)}]
    plans = [replace(ruled, **change) for change in changes]
    return [ruled, *(plan for plan in plans if plan != ruled and plan.is_fit(rows, columns))]


def _ruled(rows: int, columns: int) -> Plan:
    """Split the columns in 2, 4, 8 parts until there are enough programs."""
    ruled = Plan()
    while ruled.tiles(rows) * ruled.splits < _PROGRAMS and columns // GROUP >= 2 * ruled.splits * _LEAST:
        finer = Plan(splits=2 * ruled.splits)
        if not finer.is_fit(rows, columns):
            break
        ruled = finer
    return ruled
