"""Turns pieces and turns into messages, with the ledger of exactly these messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from ...protocol.conversation import Message
from ...protocol.images import Image
from .inputs import CONTINUED, QUESTION_TITLE, PromptInputs
from .ledger import Piece, Segment

Part: TypeAlias = tuple[Piece | None, str | Image]


def assemble(
    inputs: PromptInputs, content: Sequence[Part], turns: Sequence[Message]
) -> tuple[tuple[Message, ...], list[Segment]]:
    """The messages and their ledger. `content` goes in front of the first user turn, whose own text gets a title."""
    sent: list[Message] = []
    ledger: list[Segment] = []
    if inputs.system:
        sent.append(Message("system", (inputs.system,)))
        ledger.append(Segment("system", inputs.count([inputs.system])[0]))
    turns = list(turns)
    if content and turns[0].role != "user":
        turns = [Message("user", (CONTINUED,)), *turns]
    for i, turn in enumerate(turns):
        name = "question" if i == len(turns) - 1 else "conversation"
        parts: list[Part] = [(None, part) for part in turn.content]
        if i == 0 and content:
            parts = [*content, *_titled(parts)]
        message, segments = one_message(inputs, turn, parts, name)
        sent.append(message)
        ledger += segments
    if inputs.answer_start:
        sent.append(inputs.answer_start)
        ledger.append(Segment("beginning", inputs.count([inputs.answer_start.text])[0]))
    template = inputs.overhead(sent)
    if template:
        ledger.insert(0, Segment("template", template))
    return tuple(sent), ledger


def _titled(parts: list[Part]) -> list[Part]:
    if parts and isinstance(parts[0][1], str):
        return [(None, QUESTION_TITLE + parts[0][1]), *parts[1:]]
    return [(None, QUESTION_TITLE), *parts]


def one_message(inputs: PromptInputs, turn: Message, parts: Sequence[Part], name: str) -> tuple[Message, list[Segment]]:
    """The turn with these parts, and a ledger line for each part.

    Neighbouring texts are joined. If the joined text has more or fewer tokens than its parts, the difference gets its own line.
    """
    content: list[str | Image] = []
    segments: list[Segment] = []
    seam_tokens = 0
    for run in _text_runs(parts):
        piece, part = run[0]
        if isinstance(part, Image):
            content.append(part)
            segments.append(Segment("image", inputs.image_tokens(part), piece.cell if piece else None))
            continue
        texts = [text for _, text in run if isinstance(text, str)]
        content.append("".join(texts))
        counts = [inputs.count([text])[0] for text in texts]
        segments += [_segment(each, name, tokens) for (each, _), tokens in zip(run, counts, strict=True)]
        if len(run) > 1:
            seam_tokens += inputs.count(["".join(texts)])[0] - sum(counts)
    if seam_tokens:
        segments.append(Segment("seams", seam_tokens))
    return replace(turn, content=tuple(content)), segments


def _text_runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Neighbouring texts as one run, each image as its own."""
    run: list[Part] = []
    for part in parts:
        if isinstance(part[1], str):
            run.append(part)
            continue
        if run:
            yield run
        yield [part]
        run = []
    if run:
        yield run


def _segment(piece: Piece | None, name: str, tokens: int) -> Segment:
    if piece is None:
        return Segment(name, tokens)
    return Segment(piece.segment, tokens, piece.cell, True, piece.state, piece.why)


def spans(numbers: Sequence[int]) -> list[str]:
    """Consecutive numbers as ranges: `1-3`, `7`."""
    ranges: list[list[int]] = []
    for n in numbers:
        if ranges and ranges[-1][1] == n - 1:
            ranges[-1][1] = n
        else:
            ranges.append([n, n])
    return [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
