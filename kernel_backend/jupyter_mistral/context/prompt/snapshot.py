"""The part of a prompt that stays: the cells as first read, then a log of what was told since. Old snapshot in, new one out.

Nothing already told is ever rewritten while the snapshot lasts, so its tokens stay a prefix that the engine has read before.
Where only some cells fit, each question adds those it lacks to the log; what has no room beside them goes from the end.
A snapshot is made anew (re-based) when a notebook that was told whole had cells inserted, moved or deleted, since citations
must stay exact; when its log outgrows its share; or when too little of it could stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import TypeAlias

from ..notebook.cells import Cell
from ..notebook.shorten import Wanted
from .ledger import Counter, Piece, piece
from .render import LEVELS, Level, Renderer, head

LOG_SHARE = 0.25
LOG_FLOOR = 300
# how much of the room the most relevant cells may fill at which level of detail
TIERS = ((0.2, LEVELS[0]), (0.5, LEVELS[1]), (1.0, LEVELS[2]), (1.0, LEVELS[3]))
NEAR = 1
# the share of the room that a follow-up's own cells may claim from those told before, and the tokens that it lies between;
# with less than STAYS of the room left of these, all is chosen anew
CLAIM, CLAIM_LEAST, CLAIM_MOST, STAYS = 0.5, 1200, 4000, 0.2
# what a fresh selection leaves free where there is more than ROOMY, so that the next question's cells can be added below
SLACK, ROOMY = 0.12, 6000
BATCH = 64
CHANGES, MORE = "Changes since the cells above were read:", "More cells of the notebook:"

Sized: TypeAlias = tuple[tuple[Piece, ...], int]
Rendered: TypeAlias = Mapping[int, tuple[Piece, ...]]  # by position


@dataclass(frozen=True)
class Mark:
    """A cell that was told: how many pieces stand up to its end, where it stands in the notebook, its digest and run number."""

    end: int
    position: int
    digest: str
    run: int | None


@dataclass(frozen=True)
class Snapshot:
    """What was told so far, in order, with a mark for each cell in it. `keys` are the ids of all cells of the notebook then.
    `level` is -1 where cells had to be left out."""

    basis: str
    level: int
    cells: tuple[Piece, ...]
    log: tuple[Piece, ...] = ()
    keys: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    ran: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self.cells + self.log

    @property
    def is_whole(self) -> bool:
        return self.level >= 0

    def told(self, end: int | None = None) -> dict[int, Mark]:
        """How each position was last told, within the first `end` pieces."""
        return {mark.position: mark for mark in self.marks if end is None or mark.end <= end}


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
        """The old snapshot with what is new in its log, as much of it as there is room for, or a fresh one."""
        digests = [cell.digest() for cell in self.cells]
        if old is None or old.basis != self.basis:
            return self._whole(digests, room) or self._selection(digests, room)
        return (
            self._added(old, digests, room)
            or self._whole(digests, room)
            or self._trimmed(old, digests, room)
            or self._selection(digests, room)
        )

    # -------------------------------------------------------------------------------------- going on

    def _added(self, old: Snapshot, digests: list[str], room: int) -> Snapshot | None:
        """All that was told, and below it what is new; None where that is impossible or no longer worth it."""
        if self._same(old) < len(old.keys):
            return None
        end = len(old.pieces)
        needed = self._filled(LEVELS[old.level]) if old.is_whole else self._claims(room)
        lacked = set(needed) - set(old.told()) if old.is_whole else self._lacked(old, needed)(end)
        found = self._go_on(old, end, digests, needed, lacked)
        size, log_size = self.count.total(found.cells), self.count.total(found.log)
        if size + log_size > room or (old.is_whole and log_size > max(LOG_FLOOR, LOG_SHARE * size)):
            return None
        return found

    def _trimmed(self, old: Snapshot, digests: list[str], room: int) -> Snapshot | None:
        """As much from the start of what was told as there is room for beside what this question needs most."""
        needed = self._claims(room)
        lacked_at = self._lacked(old, needed)
        costs = {i: self.count.total(pieces) for i, pieces in needed.items()}
        sizes = list(accumulate(self.count.pieces(old.pieces)))
        same = self._same(old)
        stay = list(takewhile(lambda mark: mark.position < same, old.marks))
        for end in sorted({mark.end for mark in stay}, reverse=True):
            size = sizes[end - 1]
            if size < STAYS * room:
                return None
            lacked = lacked_at(end) if size <= room else set()
            if size + sum(costs[i] for i in lacked) > room:
                continue
            found = self._go_on(replace(old, level=-1), end, digests, needed, lacked)
            if self.count.total(found.pieces) <= room:
                return found
        return None

    def _same(self, old: Snapshot) -> int:
        """How many cells from the first on are where they were."""
        keys = self._keys()
        return next((i for i, key in enumerate(old.keys) if i >= len(keys) or key != keys[i]), len(old.keys))

    def _lacked(self, old: Snapshot, needed: Rendered) -> Callable[[int], set[int]]:
        """Which of the needed the first so many pieces do not tell, or not all that now matters of them."""
        asked = {self.cells[i].index: _lines(pieces) for i, pieces in needed.items()}
        told = [(n, p.cell, _lines([p])) for n, p in enumerate(old.pieces) if p.cell in asked]

        def lacked(end: int) -> set[int]:
            said: dict[int | None, set[str]] = {}
            for n, cell, lines in told:
                if n < end:
                    said.setdefault(cell, set()).update(lines)
            where = {i: self.cells[i].index for i in needed}
            return {i for i, index in where.items() if index not in said or not asked[index] <= said[index]}

        return lacked

    def _go_on(self, old: Snapshot, end: int, digests: list[str], needed: Rendered, lacked: set[int]) -> Snapshot:
        """The first `end` pieces of what was told, and below them what changed since and the needed cells that they lack."""
        told = old.told(end)
        changed = {i for i, mark in told.items() if mark.digest != digests[i]}
        rerun = [i for i, mark in sorted(told.items()) if i not in changed and mark.run != self.cells[i].run]
        pieces = list(old.pieces[:end])
        marks = [mark for mark in old.marks if mark.end <= end]
        title = ""
        if rerun:
            title = CHANGES
            runs = "; ".join(head(self.cells[i]) for i in rerun)
            pieces += [piece("changes", title), piece("changes", f"Ran again with the same result: {runs}")]
            marks += [self._mark(pieces, i, digests) for i in rerun]
        for i in [*sorted(changed), *sorted(lacked - changed)]:
            before, title = title, CHANGES if i in changed or old.is_whole else MORE
            pieces += [piece("changes", title)] if title != before else []
            note = " changed, it is now:" if i in changed else " again, with other lines:" if i in told else ""
            pieces += _noted(needed[i] if i in needed else self._rendered(i, old), note)
            marks.append(self._mark(pieces, i, digests))
        split = min(end, len(old.cells))
        return replace(
            old, cells=tuple(pieces[:split]), log=tuple(pieces[split:]), keys=self._keys(), marks=tuple(marks)
        )

    def _rendered(self, i: int, old: Snapshot) -> tuple[Piece, ...]:
        if old.is_whole:
            return self.renderer.cell(self.cells[i], LEVELS[old.level])
        return self.renderer.cell(self.cells[i], TIERS[NEAR][1], self.wanted)

    # -------------------------------------------------------------------------------------- reading anew

    def _whole(self, digests: list[str], room: int) -> Snapshot | None:
        """All cells, at the most generous level that fits."""
        for number, level in enumerate(LEVELS[:3]):
            least = sum(min(len(c.source), level.source) for c in self.cells) // 12
            if least > room:
                continue
            found = self._fresh(number, digests, self._filled(level))
            if self.count.total(found.pieces) <= room:
                return found
        return None

    def _selection(self, digests: list[str], room: int) -> Snapshot:
        """The most needed cells, in cell order: the first of them in more detail, the others shortened further."""
        room -= self.count.total([self.opening])
        room = int(room * (1 - SLACK)) if room > ROOMY else room
        return self._fresh(-1, digests, self._chosen(room))

    def _fresh(self, number: int, digests: list[str], chosen: Rendered) -> Snapshot:
        pieces, marks = [self.opening], []
        for i in sorted(chosen):
            pieces += chosen[i]
            marks.append(self._mark(pieces, i, digests))
        return Snapshot(self.basis, number, tuple(pieces), keys=self._keys(), marks=tuple(marks))

    def _claims(self, room: int) -> Rendered:
        """What this question needs most."""
        return self._chosen(min(room, max(CLAIM_LEAST, min(int(room * CLAIM), CLAIM_MOST))))

    def _chosen(self, room: int) -> Rendered:
        """The cells that fit, by need."""
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
        return chosen

    def _candidates(self) -> Iterator[tuple[int, list[Sized]]]:
        """Cells by need, each at the level of every tier; rendered and counted a batch at a time."""
        order = [i for i in self.rank() if not self.cells[i].is_empty]
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            tried = [[self.renderer.cell(self.cells[i], level, self.wanted) for _, level in TIERS] for i in batch]
            self.count.pieces([p for levels in tried for pieces in levels for p in pieces])
            for i, levels in zip(batch, tried, strict=True):
                yield i, [(pieces, self.count.total(pieces)) for pieces in levels]

    def _filled(self, level: Level) -> Rendered:
        return {i: self.renderer.cell(cell, level) for i, cell in enumerate(self.cells) if not cell.is_empty}

    def _mark(self, pieces: Sequence[Piece], i: int, digests: list[str]) -> Mark:
        return Mark(len(pieces), i, digests[i], self.cells[i].run)

    def _keys(self) -> tuple[str, ...]:
        return tuple(cell.key for cell in self.cells)


def _lines(pieces: Iterable[Piece]) -> set[str]:
    """What they say, apart from headings and from where something was left out."""
    found = (line.strip() for each in pieces for line in each.text.split("\n")[1:])
    return {line for line in found if "…" not in line}


def _noted(pieces: tuple[Piece, ...], note: str) -> tuple[Piece, ...]:
    """With a note behind the cell's heading."""
    heading, _, text = pieces[0].text.partition("\n")
    return (replace(pieces[0], text=f"{heading}{note}\n{text}"), *pieces[1:])
