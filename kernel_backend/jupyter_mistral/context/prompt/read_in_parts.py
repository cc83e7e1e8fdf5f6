"""A notebook larger than the window, read in parts: each part's prompt asks for notes, the last prompt holds the notes.

The parts of a notebook do not depend on the question as long as it is short, so that a second question finds them read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...protocol.conversation import Message
from ...protocol.images import Image
from ..notebook import dataflow, stale
from ..notebook.cells import Cell
from ..search import relevance
from .after_notebook import tail
from .assemble import Part as Content
from .assemble import assemble, spans
from .builder import CLOSING, Built, opening_of
from .inputs import TAIL_SHARE, TURNS_SHARE, PromptInputs
from .ledger import Piece, Segment, piece
from .render import LEVELS, Level, Renderer, guard

MAX_PARTS = 64
# tokens kept free for question, task and system text, so that the parts stay the same for most questions
RESERVE = 800
# tokens of the notes of one part
NOTE_MOST, NOTE_LEAST = 512, 64
NOTHING = "nothing"
TASK = """\n\nDo not answer yet: this is {which} of the notebook. Write notes for the answer: every fact, value or definition above that \
bears on the question, each in one line that ends with the cell it stands in, such as [cell 12]. If there is none, write: nothing."""
JOIN = """\n\nDo not answer yet: above are notes on parts of the notebook. Write them shorter: keep every fact that bears on the question, \
and the [cell N] behind it. If there is none, write: nothing."""


@dataclass(frozen=True)
class Window:
    """A prompt that asks for notes. about: which cells, in words. note_tokens: maximum tokens of the notes."""

    about: str
    messages: tuple[Message, ...]
    ledger: tuple[Segment, ...]
    tokens: int
    note_tokens: int


@dataclass(frozen=True)
class Plan:
    """The windows to read in turn, and in words what even they leave out."""

    windows: tuple[Window, ...]
    left_out: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(window.tokens for window in self.windows)


@dataclass(frozen=True)
class Note:
    """What was noted about some cells."""

    about: str
    text: str

    @property
    def is_empty(self) -> bool:
        return self.text.strip().strip(".").lower() in ("", NOTHING)


def plan(inputs: PromptInputs) -> Plan | None:
    """How to read all of the notebook; None where it fits into one prompt whole. Raises `context_too_long`."""
    bare = _bare(inputs)
    room = _room(bare)
    packed, missing = _packed(bare, room)
    if len(packed) < 2 and not missing:
        return None
    each = _note_room(inputs, len(packed))
    windows = []
    for i, pieces in enumerate(packed):
        cells = sorted({p.cell for p in pieces if p.cell is not None})
        which = f"part {i + 1} of {len(packed)}"
        content = [opening_of(inputs, f' part="{i + 1} of {len(packed)}"'), *pieces, CLOSING]
        windows.append(_window(bare, f"cells {', '.join(spans(cells))}", content, TASK.format(which=which), each))
    left_out = (f"cells {', '.join(spans(missing))}",) if missing else ()
    return Plan(tuple(windows), left_out)


def combine(inputs: PromptInputs, notes: Sequence[Note], last: bool = False) -> Built | None:
    """The prompt that answers out of the notes; None where they do not fit. last: then they are shortened until they do."""
    frame = _frame(inputs, len(notes))
    rest, turns, found, dropped = _around(inputs, frame)
    pieces = [_noted(note) for note in notes if not note.is_empty]
    if inputs.count.total(pieces) > rest:
        if not last:
            return None
        pieces = _cut(inputs, pieces, rest)
    if not pieces:
        pieces = [piece("note", "(no part of the notebook bears on the question)")]
    content: list[Content] = [(p, p.text) for p in (frame[0], *pieces, frame[1], *found)]
    sent, ledger = assemble(inputs, content, turns)
    ledger += [Segment("note", 0, None, False, "dropped", f"{n.about}: nothing found") for n in notes if n.is_empty]
    return Built(sent, tuple(ledger), sum(s.tokens for s in ledger), tuple(dropped))


def condense(inputs: PromptInputs, notes: Sequence[Note]) -> Plan:
    """Prompts that ask to join notes which do not fit together, as many at a time as one prompt holds."""
    bare = _bare(inputs)
    room = _room(bare)
    kept = [note for note in notes if not note.is_empty]
    groups: list[list[Note]] = []
    left = 0
    for note in kept:
        size = inputs.count.total([_noted(note)])
        # halves, so that each round leaves fewer
        if not groups or size > left or 2 * len(groups[-1]) >= max(4, len(kept)):
            groups.append([])
            left = room
        groups[-1].append(note)
        left -= size
    each = _note_room(inputs, len(groups))
    windows = []
    for group in groups:
        pieces = _cut(inputs, [_noted(note) for note in group], room)
        content = [opening_of(inputs), *pieces, CLOSING]
        about = group[0].about if len(group) == 1 else f"{group[0].about} to {group[-1].about}"
        windows.append(_window(bare, about, content, JOIN, each))
    return Plan(tuple(windows))


# ------------------------------------------------------------------------------------------------ rooms


def _bare(inputs: PromptInputs) -> PromptInputs:
    """The same question without pictures, and without a beginning of the answer."""
    messages = inputs.messages[:-1] if inputs.answer_start else inputs.messages
    plain = [replace(m, content=tuple(p for p in m.content if not isinstance(p, Image))) for m in messages]
    return replace(inputs, messages=tuple(plain))


def _room(bare: PromptInputs) -> int:
    """Tokens of notebook in a window."""
    turns = _short_turns(bare)
    fixed = bare.budget - bare.tokens_left(turns) + sum(bare.message_tokens(m) for m in turns[:-1])
    fixed += bare.count([TASK])[0] + bare.count.total([opening_of(bare, ' part="10 of 10"'), CLOSING]) + 8
    reserve = RESERVE if bare.budget >= 4 * RESERVE else 0
    return max(0, bare.budget - max(fixed, reserve))


def _short_turns(inputs: PromptInputs) -> list[Message]:
    return inputs.fitting_turns(inputs.budget // 8)[0]


def _frame(inputs: PromptInputs, parts: int) -> list[Piece]:
    """What stands above and below the notes."""
    return [opening_of(inputs, f' read="in {parts} parts"'), CLOSING]


def _around(inputs: PromptInputs, frame: list[Piece]) -> tuple[int, list[Message], list[Piece], list[str]]:
    """Tokens left for notes, and what else the last prompt holds: turns, variables and the like, what of these is dropped."""
    rest = inputs.tokens_left(inputs.turns) - inputs.count.total(frame)
    graph = dataflow.graph(inputs.cells, inputs.language)
    doubts = stale.notes(inputs.cells, graph, stale.remember({}, inputs.cells))
    found, dropped = tail(inputs, int(rest * TAIL_SHARE), doubts)
    rest -= inputs.count.total(found)
    turns, gone = inputs.fitting_turns(int(rest * TURNS_SHARE))
    return rest - sum(inputs.message_tokens(m) for m in turns[:-1]), turns, found, [*dropped, *gone]


def _note_room(inputs: PromptInputs, notes: int) -> int:
    # less what stands above each
    return max(NOTE_LEAST, min(NOTE_MOST, _around(inputs, _frame(inputs, notes))[0] // max(1, notes) - 16))


# ------------------------------------------------------------------------------------------------ parts


def _packed(inputs: PromptInputs, room: int) -> tuple[list[list[Piece]], list[int]]:
    """The cells in order in as few windows as they need, at the most detailed level that needs at most MAX_PARTS."""
    cells = [cell for cell in inputs.cells if not cell.is_empty]
    renderer = Renderer(inputs.known_secrets)
    for level in LEVELS:
        # a lower bound, at 12 characters a token: what is hopeless need not be rendered
        if sum(min(len(c.source), level.source) for c in cells) // 12 > MAX_PARTS * room:
            continue
        packed = list(_windows(inputs, cells, renderer, level, room, MAX_PARTS + 1))
        if len(packed) <= MAX_PARTS:
            return packed, []
    chosen = _most_needed(inputs, cells, renderer, MAX_PARTS * room * 8 // 10)
    packed = list(_windows(inputs, chosen, renderer, LEVELS[-1], room, MAX_PARTS))
    shown = {p.cell for pieces in packed for p in pieces}
    return packed, [c.index for c in cells if c.index not in shown]


def _most_needed(inputs: PromptInputs, cells: list[Cell], renderer: Renderer, room: int) -> list[Cell]:
    graph = dataflow.graph(inputs.cells, inputs.language)
    scores = relevance.scores(inputs.cells, relevance.index(inputs.cells), graph, inputs.question)
    by_index = {cell.index: score for cell, score in zip(inputs.cells, scores, strict=True)}
    chosen = set()
    for cell in sorted(cells, key=lambda c: -by_index[c.index]):
        room -= inputs.count.total(renderer.cell(cell, LEVELS[-1]))
        if room < 0:
            break
        chosen.add(cell.index)
    return [cell for cell in cells if cell.index in chosen]


def _windows(
    inputs: PromptInputs, cells: list[Cell], renderer: Renderer, level: Level, room: int, most: int
) -> Iterator[list[Piece]]:
    """At most `most` windows. A cell goes whole into one, unless it is larger than a window."""
    window: list[Piece] = []
    left, made = room, 0
    for cell in cells:
        pieces = renderer.cell(cell, level)
        sizes = inputs.count.pieces(pieces)
        groups = [pieces]
        if sum(sizes) > room:
            groups = [(part,) for p in pieces for part in _split(inputs, p, room)]
        for group in groups:
            size = inputs.count.total(group)
            if size > left and window:
                yield window
                made += 1
                if made >= most:
                    return
                window, left = [], room
            window = [*window, *group]
            left -= size
    if window:
        yield window


def _split(inputs: PromptInputs, large: Piece, room: int) -> list[Piece]:
    """A piece as several that fit, cut between lines."""
    tokens = inputs.count([large.text])[0]
    if tokens <= room:
        return [large]
    most = max(40, len(large.text) * room * 7 // (tokens * 10))
    name = f"[{'output' if large.segment == 'output' else 'cell'} {large.cell}] continued\n"
    chunks = [""]
    for line in large.text.splitlines(keepends=True):
        for start in range(0, len(line), most):
            part = line[start : start + most]
            if len(chunks[-1]) + len(part) > most and chunks[-1]:
                chunks.append(name)
            chunks[-1] += part
    pieces = [piece(large.segment, chunk, large.cell, large.state, large.why) for chunk in chunks]
    return [part for each in pieces for part in _cut(inputs, [each], room)]


def _cut(inputs: PromptInputs, pieces: list[Piece], room: int) -> list[Piece]:
    """The pieces in so many tokens at most; each that has more than its share loses its middle."""
    share = room // max(1, len(pieces))
    found = []
    for each in pieces:
        text = each.text
        while inputs.count([text])[0] > share and len(text) > 8:
            half = len(text) * 2 // 5
            text = f"{text[:half].rstrip()} … {text[-half // 2 :].strip()}".rstrip() + "\n"
        state = each.state if text == each.text else "shortened"
        if inputs.count([text])[0] <= share:
            found.append(replace(each, text=text, state=state))
    return found


def _window(bare: PromptInputs, about: str, content: Sequence[Piece], task: str, room: int) -> Window:
    *before, question = _short_turns(bare)
    turns = [*before, replace(question, content=(*question.content, task))]
    sent, ledger = assemble(bare, [(p, p.text) for p in content], turns)
    return Window(about, sent, tuple(ledger), sum(s.tokens for s in ledger), room)


def _noted(note: Note) -> Piece:
    # notes cite cells at the start of a line too, which a notebook's text may not
    text = guard(note.text.strip()).replace("\\[cell ", "[cell ")
    return piece("note", f"[notes on {note.about}]\n{text}", None, "whole", note.about)
