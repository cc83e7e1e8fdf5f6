"""Pieces and turns into messages, and the ledger of exactly these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from ...protocol.conversation import Message
from ...protocol.images import Image
from .inputs import GOES_ON, TITLE, PromptInputs
from .ledger import Piece, Segment

Part: TypeAlias = tuple[Piece | None, str | Image]


def assemble(
    inputs: PromptInputs, content: Sequence[Part], turns: Sequence[Message], title: str = TITLE
) -> tuple[tuple[Message, ...], list[Segment]]:
    """The messages, with `content` in front of the first user turn (under `title` that turn's own words), and the ledger."""
    sent: list[Message] = []
    ledger: list[Segment] = []
    if inputs.system:
        sent.append(Message("system", (inputs.system,)))
        ledger.append(Segment("system", inputs.count([inputs.system])[0]))
    turns = list(turns)
    if content and turns[0].role != "user":
        turns = [Message("user", (GOES_ON,)), *turns]
    for i, turn in enumerate(turns):
        name = "question" if i == len(turns) - 1 else "conversation"
        parts: list[Part] = [(None, part) for part in turn.content]
        if i == 0 and content:
            parts = [*content, *_titled(parts, title)]
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


def _titled(parts: list[Part], title: str) -> list[Part]:
    if parts and isinstance(parts[0][1], str):
        return [(None, title + parts[0][1]), *parts[1:]]
    return [(None, title), *parts]


def one_message(inputs: PromptInputs, turn: Message, parts: Sequence[Part], name: str) -> tuple[Message, list[Segment]]:
    """Joins neighbouring texts; what a tokenizer counts for the joined text beyond its parts is a line of its own."""
    joined: list[str | Image] = []
    segments: list[Segment] = []
    seam = 0
    run: list[str] = []
    for each, part in [*parts, (None, None)]:
        if isinstance(part, str):
            run.append(part)
            tokens = inputs.count([part])[0]
            segments.append(
                Segment(each.segment, tokens, each.cell, True, each.state, each.why) if each else Segment(name, tokens)
            )
            continue
        if run:
            text = "".join(run)
            joined.append(text)
            if len(run) > 1:
                seam += inputs.count([text])[0] - sum(inputs.count(run))
            run = []
        if isinstance(part, Image):
            joined.append(part)
            segments.append(Segment("image", inputs.image_tokens(part), each.cell if each else None))
    if seam:
        segments.append(Segment("seams", seam))
    return replace(turn, content=tuple(joined)), segments


def spans(numbers: Sequence[int]) -> list[str]:
    """`1-3`, `7`: runs of numbers in order."""
    found: list[list[int]] = []
    for n in numbers:
        if found and found[-1][1] == n - 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return [str(a) if a == b else f"{a}-{b}" for a, b in found]
