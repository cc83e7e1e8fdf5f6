"""Reads a notebook larger than the context in parts: one prompt per part asks for notes, the last prompt contains the notes.

The parts do not depend on the question while it is short, so that a second question finds them cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...protocol.conversation import Message
from ...protocol.images import Image
from ..notebook import dataflow, stale
from ..notebook.cells import Cell
from ..search import relevance
from .assemble import Part, assemble, spans
from .builder import CLOSING, Built, opening_of
from .inputs import AFTER_NOTEBOOK_SHARE, TURNS_SHARE, PromptInputs
from .ledger import Piece, Segment, piece
from .render import LEVELS, Level, Renderer, guard
from .variables_and_figures import variable_and_figure_pieces

MAX_PARTS = 64
# tokens reserved for question, task and system text, so that the parts are the same for most questions
RESERVE = 800
# bounds of the tokens for the notes on one part
NOTE_MOST, NOTE_LEAST = 512, 64
NOTHING = "nothing"
TASK = """\n\nDo not answer yet: this is {which} of the notebook. Write notes for the answer: every fact, value or definition above that \
bears on the question, each on one line that ends with its cell, such as [cell 12]. If there is none, write: nothing."""
JOIN = """\n\nDo not answer yet: above are notes on parts of the notebook. Shorten them: keep every fact that bears on the question, \
and the [cell N] behind it. If there is none, write: nothing."""


@dataclass(frozen=True)
class Window:
    """A prompt that asks for notes. about: its cells, in words. note_tokens: maximum tokens of the notes."""

    about: str
    messages: tuple[Message, ...]
    ledger: tuple[Segment, ...]
    tokens: int
    note_tokens: int


@dataclass(frozen=True)
class Plan:
    """The windows to read one after the other, and what they leave out, in words."""

    windows: tuple[Window, ...]
    left_out: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(window.tokens for window in self.windows)


@dataclass(frozen=True)
class Note:
    """The model's notes on some cells."""

    about: str
    text: str

    @property
    def is_empty(self) -> bool:
        return self.text.strip().strip(".").lower() in ("", NOTHING)


def plan(inputs: PromptInputs) -> Plan | None:
    """The windows that cover the notebook; None if it fits into one prompt. Raises `context_too_long`."""
    bare = _bare(inputs)
    packed, missing = _packed(bare, _window_budget(bare))
    if len(packed) < 2 and not missing:
        return None
    note_tokens = _note_tokens(inputs, len(packed))
    windows = []
    for i, pieces in enumerate(packed):
        cells = sorted({p.cell for p in pieces if p.cell is not None})
        which = f"part {i + 1} of {len(packed)}"
        content = [opening_of(inputs, f' part="{i + 1} of {len(packed)}"'), *pieces, CLOSING]
        windows.append(
            _window(bare, f"cells {', '.join(spans(cells))}", content, TASK.format(which=which), note_tokens)
        )
    left_out = (f"cells {', '.join(spans(missing))}",) if missing else ()
    return Plan(tuple(windows), left_out)


def combine(inputs: PromptInputs, notes: Sequence[Note], last: bool = False) -> Built | None:
    """The prompt that answers from the notes; None if they do not fit. last: cut them until they do."""
    opening = _opening(inputs, len(notes))
    rest = _rest(inputs, opening)
    pieces = [_note_piece(note) for note in notes if not note.is_empty]
    if inputs.count.total(pieces) > rest.tokens_left:
        if not last:
            return None
        pieces = _cut(inputs, pieces, rest.tokens_left)
    if not pieces:
        pieces = [piece("note", "(no part of the notebook bears on the question)")]
    content: list[Part] = [(p, p.text) for p in (opening, *pieces, CLOSING, *rest.after_notebook)]
    sent, ledger = assemble(inputs, content, rest.turns)
    ledger += [Segment("note", 0, None, False, "dropped", f"{n.about}: nothing relevant") for n in notes if n.is_empty]
    return Built(sent, tuple(ledger), sum(s.tokens for s in ledger), tuple(rest.dropped))


def condense(inputs: PromptInputs, notes: Sequence[Note]) -> Plan:
    """Prompts that shorten notes that do not fit together, as many at a time as one prompt holds."""
    bare = _bare(inputs)
    budget = _window_budget(bare)
    groups = _note_groups(inputs, [note for note in notes if not note.is_empty], budget)
    note_tokens = _note_tokens(inputs, len(groups))
    windows = []
    for group in groups:
        pieces = _cut(inputs, [_note_piece(note) for note in group], budget)
        content = [opening_of(inputs), *pieces, CLOSING]
        about = group[0].about if len(group) == 1 else f"{group[0].about} to {group[-1].about}"
        windows.append(_window(bare, about, content, JOIN, note_tokens))
    return Plan(tuple(windows))


def _note_groups(inputs: PromptInputs, notes: list[Note], budget: int) -> list[list[Note]]:
    """The notes in order, in groups that fit; a group has at most half of them, so that each round leaves fewer."""
    groups: list[list[Note]] = []
    left = 0
    for note in notes:
        size = inputs.count.total([_note_piece(note)])
        if not groups or size > left or 2 * len(groups[-1]) >= max(4, len(notes)):
            groups.append([])
            left = budget
        groups[-1].append(note)
        left -= size
    return groups


# ------------------------------------------------------------------------------------------------ budgets


def _bare(inputs: PromptInputs) -> PromptInputs:
    """The inputs without images and without the start of the answer."""
    messages = inputs.messages[:-1] if inputs.answer_start else inputs.messages
    plain = [replace(m, content=tuple(p for p in m.content if not isinstance(p, Image))) for m in messages]
    return replace(inputs, messages=tuple(plain))


def _window_budget(bare: PromptInputs) -> int:
    """Tokens of the notebook in one window."""
    turns = _short_turns(bare)
    fixed = bare.budget - bare.tokens_left(turns) + sum(bare.message_tokens(m) for m in turns[:-1])
    fixed += bare.count([TASK])[0] + bare.count.total([opening_of(bare, ' part="10 of 10"'), CLOSING]) + 8
    reserve = RESERVE if bare.budget >= 4 * RESERVE else 0
    return max(0, bare.budget - max(fixed, reserve))


def _short_turns(inputs: PromptInputs) -> list[Message]:
    return inputs.fitting_turns(inputs.budget // 8)[0]


def _opening(inputs: PromptInputs, parts: int) -> Piece:
    return opening_of(inputs, f' read="in {parts} parts"')


@dataclass(frozen=True)
class _Rest:
    """What the last prompt has beside the notes, and the tokens left for these. dropped: what did not fit, in words."""

    tokens_left: int
    turns: list[Message]
    after_notebook: list[Piece]
    dropped: list[str]


def _rest(inputs: PromptInputs, opening: Piece) -> _Rest:
    left = inputs.tokens_left(inputs.turns) - inputs.count.total([opening, CLOSING])
    graph = dataflow.graph(inputs.cells, inputs.language)
    warnings = stale.notes(inputs.cells, graph, stale.remember({}, inputs.cells))
    after, dropped = variable_and_figure_pieces(inputs, int(left * AFTER_NOTEBOOK_SHARE), warnings)
    left -= inputs.count.total(after)
    turns, dropped_turns = inputs.fitting_turns(int(left * TURNS_SHARE))
    left -= sum(inputs.message_tokens(m) for m in turns[:-1])
    return _Rest(left, turns, after, [*dropped, *dropped_turns])


def _note_tokens(inputs: PromptInputs, notes: int) -> int:
    """Tokens for each of so many notes, less those of its heading."""
    left = _rest(inputs, _opening(inputs, notes)).tokens_left
    return max(NOTE_LEAST, min(NOTE_MOST, left // max(1, notes) - 16))


# ------------------------------------------------------------------------------------------------ parts


def _packed(inputs: PromptInputs, budget: int) -> tuple[list[list[Piece]], list[int]]:
    """The pieces of each window, and the cells left out.

    Chooses the most detailed level that needs at most MAX_PARTS windows.
    """
    cells = [cell for cell in inputs.cells if not cell.is_empty]
    renderer = Renderer(inputs.known_secrets)
    for level in LEVELS:
        # a lower bound, at 12 characters a token, saves rendering
        if sum(min(len(c.source), level.source) for c in cells) // 12 > MAX_PARTS * budget:
            continue
        packed = list(_windows(inputs, cells, renderer, level, budget, MAX_PARTS + 1))
        if len(packed) <= MAX_PARTS:
            return packed, []
    chosen = _most_needed(inputs, cells, renderer, MAX_PARTS * budget * 8 // 10)
    packed = list(_windows(inputs, chosen, renderer, LEVELS[-1], budget, MAX_PARTS))
    shown = {p.cell for pieces in packed for p in pieces}
    return packed, [c.index for c in cells if c.index not in shown]


def _most_needed(inputs: PromptInputs, cells: list[Cell], renderer: Renderer, budget: int) -> list[Cell]:
    graph = dataflow.graph(inputs.cells, inputs.language)
    scores = relevance.scores(inputs.cells, relevance.index(inputs.cells), graph, inputs.question)
    score_of = {cell.index: score for cell, score in zip(inputs.cells, scores, strict=True)}
    chosen = set()
    for cell in sorted(cells, key=lambda c: -score_of[c.index]):
        budget -= inputs.count.total(renderer.cell(cell, LEVELS[-1]))
        if budget < 0:
            break
        chosen.add(cell.index)
    return [cell for cell in cells if cell.index in chosen]


def _windows(
    inputs: PromptInputs, cells: list[Cell], renderer: Renderer, level: Level, budget: int, most: int
) -> Iterator[list[Piece]]:
    """At most `most` windows. A cell is split only if it is larger than a window."""
    window: list[Piece] = []
    left, made = budget, 0
    for cell in cells:
        pieces = renderer.cell(cell, level)
        groups = [pieces]
        if inputs.count.total(pieces) > budget:
            groups = [(part,) for p in pieces for part in _split(inputs, p, budget)]
        for group in groups:
            size = inputs.count.total(group)
            if size > left and window:
                yield window
                made += 1
                if made >= most:
                    return
                window, left = [], budget
            window = [*window, *group]
            left -= size
    if window:
        yield window


def _split(inputs: PromptInputs, large: Piece, budget: int) -> list[Piece]:
    """A piece as several that fit, split between lines."""
    tokens = inputs.count([large.text])[0]
    if tokens <= budget:
        return [large]
    most = max(40, len(large.text) * budget * 7 // (tokens * 10))
    heading = f"[{'output' if large.segment == 'output' else 'cell'} {large.cell}] continued\n"
    chunks = [""]
    for line in large.text.splitlines(keepends=True):
        for start in range(0, len(line), most):
            part = line[start : start + most]
            if len(chunks[-1]) + len(part) > most and chunks[-1]:
                chunks.append(heading)
            chunks[-1] += part
    pieces = [piece(large.segment, chunk, large.cell, large.state, large.why) for chunk in chunks]
    return [part for each in pieces for part in _cut(inputs, [each], budget)]


def _cut(inputs: PromptInputs, pieces: list[Piece], budget: int) -> list[Piece]:
    """The pieces within the budget: each that exceeds its share loses its middle."""
    share = budget // max(1, len(pieces))
    kept = []
    for each in pieces:
        text = each.text
        while inputs.count([text])[0] > share and len(text) > 8:
            half = len(text) * 2 // 5
            text = f"{text[:half].rstrip()} … {text[-half // 2 :].strip()}".rstrip() + "\n"
        state = each.state if text == each.text else "shortened"
        if inputs.count([text])[0] <= share:
            kept.append(replace(each, text=text, state=state))
    return kept


def _window(bare: PromptInputs, about: str, content: Sequence[Piece], task: str, note_tokens: int) -> Window:
    *before, question = _short_turns(bare)
    turns = [*before, replace(question, content=(*question.content, task))]
    sent, ledger = assemble(bare, [(p, p.text) for p in content], turns)
    return Window(about, sent, tuple(ledger), sum(s.tokens for s in ledger), note_tokens)


def _note_piece(note: Note) -> Piece:
    # unlike a notebook's text, notes may cite a cell at the start of a line
    text = guard(note.text.strip()).replace("\\[cell ", "[cell ")
    return piece("note", f"[notes on {note.about}]\n{text}", None, "whole", note.about)
