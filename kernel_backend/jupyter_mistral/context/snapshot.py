"""The part of a prompt that stays: the cells as first read, then a log of what changed since. Old snapshot in, new one out.

Nothing already told is ever rewritten while the snapshot lasts, so its tokens stay a prefix that the engine has read before.
A snapshot is made anew (re-based) when cells were inserted, moved or deleted above its end, since citations must stay exact;
when the log outgrows its share; or when what the question needs no longer fits beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .cells import Cell
from .ledger import Counter, Piece, piece
from .render import LEVELS, Level, Renderer, head
from .shorten import Wanted

LOG_SHARE = 0.25
LOG_FLOOR = 300
# how much of the room the most relevant cells may fill at which level of detail
TIERS = ((0.2, LEVELS[0]), (0.5, LEVELS[1]), (1.0, LEVELS[2]), (1.0, LEVELS[3]))
NEAR = 1
# what must be there for a snapshot to be kept; what a fresh selection leaves free where there is more than ROOMY, so that
# the next question's cells can be added below instead of reading all anew
MUST, SLACK, ROOMY = 0.45, 0.12, 6000
BATCH = 64

Sized: TypeAlias = tuple[tuple[Piece, ...], int]
Told: TypeAlias = tuple[str, str, int | None, bool]  # id, digest, run number, whether it is in the prompt


@dataclass(frozen=True)
class Snapshot:
    """What was told so far, in order, and how the notebook stood then. `level` is -1 where cells had to be left out."""

    basis: str
    level: int
    cells: tuple[Piece, ...]
    log: tuple[Piece, ...] = ()
    told: tuple[Told, ...] = ()
    ran: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self.cells + self.log

    @property
    def is_whole(self) -> bool:
        return self.level >= 0

    def shows(self, position: int) -> bool:
        return position < len(self.told) and self.told[position][3]


@dataclass(frozen=True)
class Reader:
    """Chooses and renders cells for one question. `rank` gives cell positions, the most needed first; it is asked only
    where not everything fits."""

    cells: Sequence[Cell]
    basis: str
    opening: Piece
    renderer: Renderer
    count: Counter
    rank: Callable[[], list[int]]
    wanted: Wanted | None = None

    def read(self, old: Snapshot | None, room: int) -> Snapshot:
        """The old snapshot with what is new in its log, or a fresh one where that is impossible or no longer worth it."""
        digests = [cell.digest() for cell in self.cells]
        if old is not None and old.basis == self.basis:
            kept = self._go_on(old, digests, room)
            if kept is not None:
                return kept
        return self._whole(digests, room) or self._selection(digests, room)

    # -------------------------------------------------------------------------------------- going on

    def _go_on(self, old: Snapshot, digests: list[str], room: int) -> Snapshot | None:
        if len(old.told) > len(self.cells) or any(t[0] != c.key for t, c in zip(old.told, self.cells, strict=False)):
            return None
        shown = {i for i, told in enumerate(old.told) if told[3]}
        changed = [i for i in sorted(shown) if old.told[i][1] != digests[i]]
        rerun = [i for i in sorted(shown) if old.told[i][1] == digests[i] and old.told[i][2] != self.cells[i].run]
        if old.is_whole:
            new = [i for i in range(len(old.told), len(self.cells)) if not self.cells[i].is_empty]
            level = LEVELS[old.level]
        else:
            new = sorted(set(self._must(room)) - shown)
            level = TIERS[NEAR][1]
        log = old.log + self._entry(changed, rerun, new, level)
        size, log_size = self.count.total(old.cells), self.count.total(log)
        if size + log_size > room or (old.is_whole and log_size > max(LOG_FLOOR, LOG_SHARE * size)):
            return None
        return replace(
            old, log=log, told=self._told(digests, shown | set(new) | (self._all() if old.is_whole else set()))
        )

    def _entry(self, changed: list[int], rerun: list[int], new: list[int], level: Level) -> tuple[Piece, ...]:
        if not (changed or rerun or new):
            return ()
        found = [piece("changes", "Changes since the cells above were read:")]
        if rerun:
            runs = "; ".join(head(self.cells[i]) for i in rerun)
            found.append(piece("changes", f"Ran again with the same result: {runs}"))
        for i in sorted(changed + new):
            note = " changed, it is now:" if i in changed else ""
            found += self.renderer.cell(self.cells[i], level, self.wanted if level is TIERS[NEAR][1] else None, note)
        return tuple(found)

    # -------------------------------------------------------------------------------------- reading anew

    def _whole(self, digests: list[str], room: int) -> Snapshot | None:
        """All cells, at the most generous level that fits."""
        for number, level in enumerate(LEVELS[:3]):
            least = sum(min(len(c.source), level.source) for c in self.cells) // 12
            if least > room:
                continue
            pieces = [self.opening]
            for cell in self.cells:
                if not cell.is_empty:
                    pieces += self.renderer.cell(cell, level)
            if self.count.total(pieces) <= room:
                return Snapshot(self.basis, number, tuple(pieces), told=self._told(digests, self._all()))
        return None

    def _selection(self, digests: list[str], room: int) -> Snapshot:
        """The most needed cells, in cell order: the first of them in more detail, the others shortened further."""
        room -= self.count.total([self.opening])
        room = int(room * (1 - SLACK)) if room > ROOMY else room
        chosen: dict[int, tuple[Piece, ...]] = {}
        left = room
        misfits = 0
        for position, sizes in self._candidates():
            misfits += 1
            for (share, _), (pieces, size) in zip(TIERS, sizes, strict=True):
                if size <= left and left - size >= room * (1 - share):
                    chosen[position] = pieces
                    left -= size
                    misfits = 0
                    break
            if left < 12 or misfits > BATCH:
                break
        pieces = (self.opening, *(p for i in sorted(chosen) for p in chosen[i]))
        return Snapshot(self.basis, -1, pieces, told=self._told(digests, set(chosen)))

    def _candidates(self) -> Iterator[tuple[int, list[Sized]]]:
        """Cells by need, each at the level of every tier; rendered and counted a batch at a time."""
        order = [i for i in self.rank() if not self.cells[i].is_empty]
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            tried = [[self.renderer.cell(self.cells[i], level, self.wanted) for _, level in TIERS] for i in batch]
            self.count.pieces([p for levels in tried for pieces in levels for p in pieces])
            for i, levels in zip(batch, tried, strict=True):
                yield i, [(pieces, self.count.total(pieces)) for pieces in levels]

    def _must(self, room: int) -> list[int]:
        """What a fresh selection would take first."""
        left = int(room * MUST)
        found = []
        for position, sizes in self._candidates():
            left -= sizes[NEAR][1]
            if left < 0:
                break
            found.append(position)
        return found

    def _all(self) -> set[int]:
        return set(range(len(self.cells)))

    def _told(self, digests: list[str], shown: set[int]) -> tuple[Told, ...]:
        return tuple((c.key, digests[i], c.run, i in shown) for i, c in enumerate(self.cells))
