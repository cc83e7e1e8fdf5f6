"""The stable part of a prompt: the cells as first sent, then a log of later changes. Continues the previous snapshot.

While a snapshot lasts, nothing in it is rewritten, so its tokens stay a prefix that the engine has cached. If only some cells
fit, each question appends the cells it lacks to the log; if these do not fit, the snapshot is cut off at its end first.

A snapshot is rebuilt if cells were inserted, moved or deleted in a notebook that was sent complete, since citations must stay
exact; if its log outgrows its share; or if too little of it could be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import TypeAlias

from ..notebook.cells import Cell
from ..notebook.shorten import LineFilter
from .ledger import Counter, Piece, piece
from .render import LEVELS, Level, Renderer, head

LOG_SHARE = 0.25
LOG_FLOOR = 300
# the share of the budget that the most relevant cells may fill, and their level of detail
TIERS = ((0.2, LEVELS[0]), (0.5, LEVELS[1]), (1.0, LEVELS[2]), (1.0, LEVELS[3]))
CHANGED_CELL_LEVEL = TIERS[1][1]
# the share of the budget that a follow-up's cells may take from those sent before, and its bounds in tokens
NEEDED_SHARE, NEEDED_LEAST, NEEDED_MOST = 0.5, 1200, 4000
# if less than this share of the budget could be kept, the snapshot is rebuilt
KEPT_SHARE = 0.2
# a new selection from a budget above LARGE leaves this share free, so that the next question's cells can be appended
SLACK, LARGE = 0.12, 6000
BATCH = 64
CHANGES, MORE = "Changes since the cells above were read:", "More cells of the notebook:"

Sized: TypeAlias = tuple[tuple[Piece, ...], int]
Rendered: TypeAlias = Mapping[int, tuple[Piece, ...]]  # by position


@dataclass(frozen=True)
class Mark:
    """A cell that was sent. end: the number of pieces up to its end. position, digest, run: its state when it was sent."""

    end: int
    position: int
    digest: str
    run: int | None


@dataclass(frozen=True)
class Snapshot:
    """What was sent so far, in order, with a mark for each cell in it.

    level: -1 if cells were left out. keys: ids of all cells of the notebook at that time. ran: see `stale.remember`.
    """

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

    def latest_marks(self, end: int | None = None) -> dict[int, Mark]:
        """The latest mark of each position within the first `end` pieces."""
        return {mark.position: mark for mark in self.marks if end is None or mark.end <= end}


@dataclass(frozen=True)
class Reader:
    """Chooses and renders the cells for one question.

    rank: gives cell positions, the most needed first; called only if not everything fits.
    """

    cells: Sequence[Cell]
    basis: str
    opening: Piece
    renderer: Renderer
    count: Counter
    rank: Callable[[], list[int]]
    is_wanted: LineFilter | None = None

    def read(self, old: Snapshot | None, budget: int) -> Snapshot:
        """The old snapshot, continued within the budget, or a new one."""
        digests = [cell.digest() for cell in self.cells]
        if old is None or old.basis != self.basis:
            return self._complete(digests, budget) or self._selection(digests, budget)
        return (
            self._extended(old, digests, budget)
            or self._complete(digests, budget)
            or self._cut_and_extended(old, digests, budget)
            or self._selection(digests, budget)
        )

    # -------------------------------------------------------------------------------------- continue a snapshot

    def _extended(self, old: Snapshot, digests: list[str], budget: int) -> Snapshot | None:
        """All of the old snapshot, and below it what is new; None if that does not fit or is no longer worth it."""
        if self._unmoved(old) < len(old.keys):
            return None
        end = len(old.pieces)
        needed = self._all_cells(LEVELS[old.level]) if old.is_whole else self._needed(budget)
        missing = set(needed) - set(old.latest_marks()) if old.is_whole else self._missing_at(old, needed)(end)
        snapshot = self._continued(old, end, digests, needed, missing)
        size, log_size = self.count.total(snapshot.cells), self.count.total(snapshot.log)
        if size + log_size > budget or (old.is_whole and log_size > max(LOG_FLOOR, LOG_SHARE * size)):
            return None
        return snapshot

    def _cut_and_extended(self, old: Snapshot, digests: list[str], budget: int) -> Snapshot | None:
        """As much from the start of the old snapshot as fits beside the cells that this question needs most."""
        needed = self._needed(budget)
        missing_at = self._missing_at(old, needed)
        costs = {i: self.count.total(pieces) for i, pieces in needed.items()}
        sizes = list(accumulate(self.count.pieces(old.pieces)))
        unmoved = self._unmoved(old)
        usable = list(takewhile(lambda mark: mark.position < unmoved, old.marks))
        for end in sorted({mark.end for mark in usable}, reverse=True):
            size = sizes[end - 1]
            if size < KEPT_SHARE * budget:
                return None
            missing = missing_at(end) if size <= budget else set()
            if size + sum(costs[i] for i in missing) > budget:
                continue
            snapshot = self._continued(replace(old, level=-1), end, digests, needed, missing)
            if self.count.total(snapshot.pieces) <= budget:
                return snapshot
        return None

    def _unmoved(self, old: Snapshot) -> int:
        """The number of cells from the first on that kept their position."""
        keys = self._keys()
        return next((i for i, key in enumerate(old.keys) if i >= len(keys) or key != keys[i]), len(old.keys))

    def _missing_at(self, old: Snapshot, needed: Rendered) -> Callable[[int], set[int]]:
        """A function: which needed cells, or lines of them, are not in the first `end` pieces."""
        needed_lines = {self.cells[i].index: _lines(pieces) for i, pieces in needed.items()}
        sent = [(n, p.cell, _lines([p])) for n, p in enumerate(old.pieces) if p.cell in needed_lines]

        def missing(end: int) -> set[int]:
            sent_lines: dict[int | None, set[str]] = {}
            for n, cell, lines in sent:
                if n < end:
                    sent_lines.setdefault(cell, set()).update(lines)
            indexes = {i: self.cells[i].index for i in needed}
            return {
                i
                for i, index in indexes.items()
                if index not in sent_lines or not needed_lines[index] <= sent_lines[index]
            }

        return missing

    def _continued(self, old: Snapshot, end: int, digests: list[str], needed: Rendered, missing: set[int]) -> Snapshot:
        """The first `end` pieces, and below them the changes since, and the missing cells."""
        sent = old.latest_marks(end)
        changed = {i for i, mark in sent.items() if mark.digest != digests[i]}
        rerun = [i for i, mark in sorted(sent.items()) if i not in changed and mark.run != self.cells[i].run]
        pieces = list(old.pieces[:end])
        marks = [mark for mark in old.marks if mark.end <= end]
        title = ""
        if rerun:
            title = CHANGES
            runs = "; ".join(head(self.cells[i]) for i in rerun)
            pieces += [piece("changes", title), piece("changes", f"Ran again with the same result: {runs}")]
            marks += [self._mark(pieces, i, digests) for i in rerun]
        for i in [*sorted(changed), *sorted(missing - changed)]:
            before, title = title, CHANGES if i in changed or old.is_whole else MORE
            pieces += [piece("changes", title)] if title != before else []
            note = " changed, it is now:" if i in changed else " again, with other lines:" if i in sent else ""
            pieces += _with_note(needed[i] if i in needed else self._rendered(i, old), note)
            marks.append(self._mark(pieces, i, digests))
        split = min(end, len(old.cells))
        return replace(
            old, cells=tuple(pieces[:split]), log=tuple(pieces[split:]), keys=self._keys(), marks=tuple(marks)
        )

    def _rendered(self, i: int, old: Snapshot) -> tuple[Piece, ...]:
        if old.is_whole:
            return self.renderer.cell(self.cells[i], LEVELS[old.level])
        return self.renderer.cell(self.cells[i], CHANGED_CELL_LEVEL, self.is_wanted)

    # -------------------------------------------------------------------------------------- make a new snapshot

    def _complete(self, digests: list[str], budget: int) -> Snapshot | None:
        """All cells, at the most detailed level that fits."""
        for number, level in enumerate(LEVELS[:3]):
            # a lower bound, at 12 characters a token
            if sum(min(len(c.source), level.source) for c in self.cells) // 12 > budget:
                continue
            snapshot = self._new(number, digests, self._all_cells(level))
            if self.count.total(snapshot.pieces) <= budget:
                return snapshot
        return None

    def _selection(self, digests: list[str], budget: int) -> Snapshot:
        """The most needed cells, in cell order; the less needed ones are shortened further."""
        budget -= self.count.total([self.opening])
        budget = int(budget * (1 - SLACK)) if budget > LARGE else budget
        return self._new(-1, digests, self._fitting(budget))

    def _new(self, number: int, digests: list[str], rendered: Rendered) -> Snapshot:
        pieces, marks = [self.opening], []
        for i in sorted(rendered):
            pieces += rendered[i]
            marks.append(self._mark(pieces, i, digests))
        return Snapshot(self.basis, number, tuple(pieces), keys=self._keys(), marks=tuple(marks))

    def _needed(self, budget: int) -> Rendered:
        """The cells that this question needs most."""
        return self._fitting(min(budget, max(NEEDED_LEAST, min(int(budget * NEEDED_SHARE), NEEDED_MOST))))

    def _fitting(self, budget: int) -> Rendered:
        """The most needed cells that fit."""
        fitting: dict[int, tuple[Piece, ...]] = {}
        left = budget
        misfits = 0
        for position, sizes in self._candidates():
            misfits += 1
            for (share, _), (pieces, size) in zip(TIERS, sizes, strict=True):
                if size <= left and left - size >= budget * (1 - share):
                    fitting[position] = pieces
                    left -= size
                    misfits = 0
                    break
            if left < 12 or misfits > BATCH:
                break
        return fitting

    def _candidates(self) -> Iterator[tuple[int, list[Sized]]]:
        """Cells by need, each at the level of every tier. Rendered and counted in batches."""
        order = [i for i in self.rank() if not self.cells[i].is_empty]
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            rendered = [[self.renderer.cell(self.cells[i], level, self.is_wanted) for _, level in TIERS] for i in batch]
            self.count.pieces([p for levels in rendered for pieces in levels for p in pieces])
            for i, levels in zip(batch, rendered, strict=True):
                yield i, [(pieces, self.count.total(pieces)) for pieces in levels]

    def _all_cells(self, level: Level) -> Rendered:
        return {i: self.renderer.cell(cell, level) for i, cell in enumerate(self.cells) if not cell.is_empty}

    def _mark(self, pieces: Sequence[Piece], i: int, digests: list[str]) -> Mark:
        return Mark(len(pieces), i, digests[i], self.cells[i].run)

    def _keys(self) -> tuple[str, ...]:
        return tuple(cell.key for cell in self.cells)


def _lines(pieces: Iterable[Piece]) -> set[str]:
    """The lines of the pieces, without headings and omission marks."""
    lines = (line.strip() for each in pieces for line in each.text.split("\n")[1:])
    return {line for line in lines if "…" not in line}


def _with_note(pieces: tuple[Piece, ...], note: str) -> tuple[Piece, ...]:
    """The pieces with a note after the cell's heading."""
    heading, _, text = pieces[0].text.partition("\n")
    return (replace(pieces[0], text=f"{heading}{note}\n{text}"), *pieces[1:])
