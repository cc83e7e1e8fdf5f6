"""`build`: joins the parts of this room into the messages of one request and the ledger of what they cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...protocol.conversation import Message
from ...protocol.images import Image
from ...tokenizer.image_tokens import estimate
from ..notebook import dataflow, pictures, stale
from ..notebook.cells import Cell
from ..search import relevance, words
from .after_notebook import one_line, tail
from .assemble import Part, assemble, one_message, spans
from .inputs import TAIL_SHARE, TURNS_SHARE, Job, Overhead, PromptInputs
from .ledger import Count, Piece, Segment, piece
from .render import Renderer, guard
from .snapshot import Reader, Snapshot

LEFT_OUT_TOKENS = 70


@dataclass(frozen=True)
class Built:
    """The messages to send; the ledger, whose tokens add up to `total_tokens`; what was left out, in words for the user;
    and the snapshot to hand in with the next question on the same notebook."""

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
    **asked: Any,
) -> Built:
    """The prompt for the newest of `messages` within the budget. asked: further fields of a `Job`.

    count: tokens of each text, specials read as text; a `Counter` keeps its counts between calls. overhead: tokens that the
    chat template adds to messages; without it the total is that of the texts alone. snapshot: the one of the last `Built`
    for this notebook. Raises `context_too_long` where the question alone does not fit.
    """
    inputs = Job(tuple(messages), **asked).inputs(notebook, count, overhead, image_tokens)
    return build_prompt(inputs, snapshot)


def build_prompt(inputs: PromptInputs, snapshot: Snapshot | None) -> Built:
    """As `build`, for what was read already."""
    return _Building(inputs).run(snapshot)


def build_plain(
    messages: Sequence[Message], *, count: Count, overhead: Overhead, image_tokens: Callable[[Image], int]
) -> Built:
    """Messages as they are, with the ledger of what they cost: for a request that brings nothing to read."""
    inputs = Job(tuple(messages), budget=0, scope="none").inputs(None, count, overhead, image_tokens)
    asked = [m for m in messages if m is not inputs.answer_start]
    ledger = []
    for message in messages:
        name = "system" if message.role == "system" else "conversation"
        name = "beginning" if message is inputs.answer_start else "question" if message is asked[-1] else name
        ledger += one_message(inputs, message, [(None, part) for part in message.content], name)[1]
    ledger.insert(0, Segment("template", inputs.overhead(messages)))
    return Built(tuple(messages), tuple(ledger), sum(s.tokens for s in ledger), ())


class _Building:
    def __init__(self, inputs: PromptInputs) -> None:
        self._inputs = inputs

    def run(self, old: Snapshot | None) -> Built:
        inputs = self._inputs
        graph = dataflow.graph(inputs.cells, inputs.language)
        rest = inputs.tokens_left(inputs.turns)
        order = _Order(inputs.cells, graph, inputs.question)
        ran = stale.remember(old.ran if old else {}, inputs.cells)
        doubts = stale.notes(inputs.cells, graph, ran)
        found, dropped = tail(inputs, int(rest * TAIL_SHARE) if inputs.cells else rest, doubts)
        rest -= inputs.count.total(found)
        images = self._images(order, rest) if inputs.vision else []
        rest -= sum(n for _, _, n in images)
        turns, gone = inputs.fitting_turns(int(rest * TURNS_SHARE) if inputs.cells else rest)
        rest -= sum(inputs.message_tokens(m) for m in turns[:-1])
        shown = self._read(old, order, rest)
        if shown is not None:
            shown = replace(shown, ran=ran)
        return self._assembled(shown, found, images, turns, [*dropped, *gone], tuple(text for _, text in doubts))

    def _read(self, old: Snapshot | None, order: _Order, room: int) -> Snapshot | None:
        inputs = self._inputs
        if not inputs.cells:
            return None
        opening = opening_of(inputs)
        close = inputs.count([CLOSING.text])[0]
        basis = "\n".join(
            (
                inputs.scope,
                str(inputs.focus) if inputs.scope in ("cell", "above") else "",
                opening.text,
                *self._known_marks(),
            )
        )
        reader = Reader(inputs.cells, basis, opening, Renderer(inputs.known_secrets), inputs.count, order, order.wanted)
        room -= close
        shown = reader.read(old, room)
        if not shown.is_whole and inputs.count.total(shown.pieces) > room - LEFT_OUT_TOKENS:
            room = max(0, room - LEFT_OUT_TOKENS)
            shown = reader.read(old, room)
        return shown if inputs.count.total(shown.pieces) <= room else None

    def _known_marks(self) -> Iterable[str]:
        return (hashlib.blake2b(k.encode(), digest_size=8).hexdigest() for k in self._inputs.known_secrets)

    def _images(self, order: _Order, room: int) -> list[tuple[Piece, Image, int]]:
        inputs = self._inputs
        found = []
        taken = sum(len(m.images) for m in inputs.turns)
        for index, image in pictures.choose(inputs.cells, order, inputs.focus, inputs.question.text, taken):
            label = piece("image", f"Picture in the output of [cell {index}]:", index)
            cost = inputs.image_tokens(image) + inputs.count.total([label])
            if cost <= room // 3:
                found.append((label, image, cost))
                room -= cost
        return found

    def _assembled(
        self,
        shown: Snapshot | None,
        found: list[Piece],
        images: list[tuple[Piece, Image, int]],
        turns: list[Message],
        dropped: list[str],
        doubts: tuple[str, ...],
    ) -> Built:
        inputs = self._inputs
        told = shown.told() if shown else {}
        missing = [c.index for i, c in enumerate(inputs.cells) if not c.is_empty and i not in told]
        before = list(shown.pieces) if shown else []
        if shown is not None:
            before.append(CLOSING)
            if missing:
                before.append(self._gap(missing))
        content: list[Part] = [(p, p.text) for p in (*before, *found)]
        for label, image, _ in images:
            content += [(label, label.text), (label, image)]
        sent, ledger = assemble(inputs, content, turns)
        ledger += [
            Segment("cell", 0, index, False, "dropped", "no room, less relevant to the question") for index in missing
        ]
        ledger += [Segment("left out", 0, None, False, "dropped", text) for text in dropped]
        left_out = ([_missing_words(missing)] if missing else []) + dropped
        return Built(sent, tuple(ledger), sum(s.tokens for s in ledger), tuple(left_out), shown, doubts)

    def _gap(self, missing: list[int]) -> Piece:
        """Names the cells left out, within the tokens set aside for it."""
        names = spans(missing)
        shown = len(names)
        while True:
            more = ", …" if 0 < shown < len(names) else ""
            text = f"Left out for lack of room, {len(missing)} cells{': ' if shown else ''}{', '.join(names[:shown])}{more}"
            found = piece("left out", text)
            if shown == 0 or self._inputs.count.total([found]) <= LEFT_OUT_TOKENS:
                return found
            shown = shown // 2


CLOSING = piece("notebook", "</notebook>")


def opening_of(inputs: PromptInputs, more: str = "") -> Piece:
    """The line that says where the notebook's data begin."""
    path = one_line(str(inputs.notebook.get("path") or "")[-200:])
    return piece("notebook", f'<notebook path="{guard(path)}" language="{one_line(inputs.language)}"{more}>')


def _missing_words(missing: list[int]) -> str:
    return f"{'cells' if len(missing) > 1 else 'cell'} {', '.join(spans(missing))}"


class _Order:
    """The cells by need for one question: worked out when first asked for, since a notebook that fits whole needs none."""

    def __init__(self, cells: Sequence[Cell], graph: dataflow.Graph, question: relevance.Question) -> None:
        self._cells, self._graph, self._question = cells, graph, question
        self._order: list[int] | None = None
        self._terms: frozenset[str] | None = None

    def __call__(self) -> list[int]:
        if self._order is None:
            found = relevance.scores(self._cells, relevance.index(self._cells), self._graph, self._question)
            self._order = sorted(range(len(self._cells)), key=lambda i: (-found[i], i))
        return self._order

    def wanted(self, line: str) -> bool:
        """Whether a line inside a long text speaks of what is asked."""
        if self._terms is None:
            self._terms = frozenset(t for t in self._question.wanted() if t[0] not in "^~")
        return not self._terms.isdisjoint(words.terms(line[:300]))
