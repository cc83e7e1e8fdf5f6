"""Builds the messages of one request within a token budget, and the ledger of their tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ...protocol.conversation import Message
from ...protocol.images import Image
from ...tokenizer.image_tokens import estimate
from ..notebook import dataflow, pictures, stale
from ..notebook.cells import Cell
from ..search import relevance, words
from .assemble import Part, assemble, one_message, spans
from .inputs import AFTER_NOTEBOOK_SHARE, TURNS_SHARE, Job, Overhead, PromptInputs
from .ledger import Count, Piece, Segment, piece
from .render import Renderer, guard
from .snapshot import Reader, Snapshot
from .variables_and_figures import one_line, variable_and_figure_pieces

# reserved for the line that lists the omitted cells
OMITTED_TOKENS = 70
CLOSING = piece("notebook", "</notebook>")

LabelledImage: TypeAlias = tuple[Piece, Image, int]  # label, image, tokens of both


@dataclass(frozen=True)
class Built:
    """The messages to send and their ledger, whose tokens add up to `total_tokens`.

    left_out: what was omitted, in words for the user. snapshot: to pass with the next question about the notebook. notes:
    warnings about outputs that may be outdated.
    """

    messages: tuple[Message, ...]
    ledger: tuple[Segment, ...]
    total_tokens: int
    left_out: tuple[str, ...]
    snapshot: Snapshot | None = None
    notes: tuple[str, ...] = ()


def build(
    messages: Sequence[Message],
    notebook: Mapping[str, Any] | None,
    *,
    count: Count,
    snapshot: Snapshot | None = None,
    overhead: Overhead | None = None,
    image_tokens: Callable[[Image], int] = estimate,
    **fields: Any,
) -> Built:
    """The prompt for the last of `messages`, within the budget. fields: the other fields of a `Job`.

    count: tokens of each text, control tokens read as text; a `Counter` caches its counts between calls. overhead: tokens that
    the chat template adds; without it, the total covers the texts alone. snapshot: that of the previous `Built` for this
    notebook. Raises `context_too_long` if the question alone does not fit.
    """
    inputs = Job(tuple(messages), **fields).inputs(notebook, count, overhead, image_tokens)
    return build_prompt(inputs, snapshot)


def build_prompt(inputs: PromptInputs, snapshot: Snapshot | None) -> Built:
    """Like `build`, for inputs that have been read."""
    return _Builder(inputs).build(snapshot)


def build_plain(
    messages: Sequence[Message], *, count: Count, overhead: Overhead, image_tokens: Callable[[Image], int]
) -> Built:
    """The messages unchanged, with their ledger: for a request without a notebook."""
    inputs = Job(tuple(messages), budget=0, scope="none").inputs(None, count, overhead, image_tokens)
    asked = [m for m in messages if m is not inputs.answer_start]
    ledger = []
    for message in messages:
        name = "system" if message.role == "system" else "conversation"
        name = "beginning" if message is inputs.answer_start else "question" if message is asked[-1] else name
        ledger += one_message(inputs, message, [(None, part) for part in message.content], name)[1]
    ledger.insert(0, Segment("template", inputs.overhead(messages)))
    return Built(tuple(messages), tuple(ledger), sum(s.tokens for s in ledger), ())


class _Builder:
    def __init__(self, inputs: PromptInputs) -> None:
        self._inputs = inputs
        self._graph = dataflow.graph(inputs.cells, inputs.language)
        self._ranking = _Ranking(inputs.cells, self._graph, inputs.question)

    def build(self, old: Snapshot | None) -> Built:
        inputs = self._inputs
        budget = inputs.tokens_left(inputs.turns)
        ran = stale.remember(old.ran if old else {}, inputs.cells)
        warnings = stale.notes(inputs.cells, self._graph, ran)
        after_budget = int(budget * AFTER_NOTEBOOK_SHARE) if inputs.cells else budget
        after, dropped = variable_and_figure_pieces(inputs, after_budget, warnings)
        budget -= inputs.count.total(after)
        images = self._images(budget) if inputs.vision else []
        budget -= sum(tokens for _, _, tokens in images)
        turns, dropped_turns = inputs.fitting_turns(int(budget * TURNS_SHARE) if inputs.cells else budget)
        budget -= sum(inputs.message_tokens(m) for m in turns[:-1])
        snapshot = self._read(old, budget)
        if snapshot is not None:
            snapshot = replace(snapshot, ran=ran)
        sent, ledger, omitted = self._assemble(snapshot, after, images, turns)
        dropped = [*dropped, *dropped_turns]
        ledger += [Segment("left out", 0, None, False, "dropped", text) for text in dropped]
        left_out = (*omitted, *dropped)
        notes = tuple(text for _, text in warnings)
        return Built(sent, tuple(ledger), sum(s.tokens for s in ledger), left_out, snapshot, notes)

    def _read(self, old: Snapshot | None, budget: int) -> Snapshot | None:
        """The cells to send; None if there are none or nothing fits."""
        inputs = self._inputs
        if not inputs.cells:
            return None
        opening = opening_of(inputs)
        renderer = Renderer(inputs.known_secrets)
        ranking = self._ranking
        reader = Reader(inputs.cells, self._basis(opening), opening, renderer, inputs.count, ranking, ranking.is_wanted)
        budget -= inputs.count([CLOSING.text])[0]
        snapshot = reader.read(old, budget)
        if not snapshot.is_whole and inputs.count.total(snapshot.pieces) > budget - OMITTED_TOKENS:
            budget = max(0, budget - OMITTED_TOKENS)
            snapshot = reader.read(old, budget)
        return snapshot if inputs.count.total(snapshot.pieces) <= budget else None

    def _basis(self, opening: Piece) -> str:
        """What a snapshot depends on apart from the cells: if it changes, the snapshot is rebuilt."""
        inputs = self._inputs
        focus = str(inputs.focus) if inputs.scope in ("cell", "above") else ""
        secrets = (hashlib.blake2b(k.encode(), digest_size=8).hexdigest() for k in inputs.known_secrets)
        return "\n".join((inputs.scope, focus, opening.text, *secrets))

    def _images(self, budget: int) -> list[LabelledImage]:
        """Images of the notebook that take at most a third of the tokens left."""
        inputs = self._inputs
        images = []
        taken = sum(len(m.images) for m in inputs.turns)
        for index, image in pictures.choose(inputs.cells, self._ranking, inputs.focus, inputs.question.text, taken):
            label = piece("image", f"Image in the output of [cell {index}]:", index)
            tokens = inputs.image_tokens(image) + inputs.count.total([label])
            if tokens <= budget // 3:
                images.append((label, image, tokens))
                budget -= tokens
        return images

    def _assemble(
        self, snapshot: Snapshot | None, after: list[Piece], images: list[LabelledImage], turns: list[Message]
    ) -> tuple[tuple[Message, ...], list[Segment], list[str]]:
        """The messages, their ledger, and the omitted cells in words."""
        sent_cells = snapshot.latest_marks() if snapshot else {}
        omitted = [c.index for i, c in enumerate(self._inputs.cells) if not c.is_empty and i not in sent_cells]
        pieces = [*snapshot.pieces, CLOSING] if snapshot else []
        if snapshot is not None and omitted:
            pieces.append(self._omitted_piece(omitted))
        content: list[Part] = [(p, p.text) for p in (*pieces, *after)]
        for label, image, _ in images:
            content += [(label, label.text), (label, image)]
        sent, ledger = assemble(self._inputs, content, turns)
        why = "over the token budget, less relevant to the question"
        ledger += [Segment("cell", 0, index, False, "dropped", why) for index in omitted]
        return sent, ledger, [_cell_list(omitted)] if omitted else []

    def _omitted_piece(self, omitted: list[int]) -> Piece:
        """Lists the omitted cells, as many as fit into the tokens reserved for it."""
        ranges = spans(omitted)
        shown = len(ranges)
        while True:
            more = ", …" if 0 < shown < len(ranges) else ""
            names = f": {', '.join(ranges[:shown])}{more}" if shown else ""
            line = piece("left out", f"Left out to fit the context, {len(omitted)} cells{names}")
            if shown == 0 or self._inputs.count.total([line]) <= OMITTED_TOKENS:
                return line
            shown = shown // 2


def opening_of(inputs: PromptInputs, attributes: str = "") -> Piece:
    """The tag that opens the notebook's data."""
    path = one_line(str(inputs.notebook.get("path") or "")[-200:])
    return piece("notebook", f'<notebook path="{guard(path)}" language="{one_line(inputs.language)}"{attributes}>')


def _cell_list(indexes: list[int]) -> str:
    return f"{'cells' if len(indexes) > 1 else 'cell'} {', '.join(spans(indexes))}"


class _Ranking:
    """Cell positions, the most relevant to the question first. Computed on first use: a notebook that fits needs none."""

    def __init__(self, cells: Sequence[Cell], graph: dataflow.Graph, question: relevance.Question) -> None:
        self._cells, self._graph, self._question = cells, graph, question
        self._order: list[int] | None = None
        self._terms: frozenset[str] | None = None

    def __call__(self) -> list[int]:
        if self._order is None:
            scores = relevance.scores(self._cells, relevance.index(self._cells), self._graph, self._question)
            self._order = sorted(range(len(self._cells)), key=lambda i: (-scores[i], i))
        return self._order

    def is_wanted(self, line: str) -> bool:
        """Whether a line of a long text has a term of the question."""
        if self._terms is None:
            self._terms = frozenset(t for t in self._question.weighted_terms() if t[0] not in "^~")
        return not self._terms.isdisjoint(words.terms(line[:300]))
