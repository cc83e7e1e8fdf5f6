"""Randomly changed files: each ends in a result or a proper failure, and the next one is served."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import hostile_images as hostile
import hostile_pdfs as pdfs
import pytest
from effort import IS_ALL
from jupyter_mistral.documents.decoder import Decoder
from jupyter_mistral.protocol.documents import Document
from jupyter_mistral.protocol.failures import Failure
from wording import check

ROUNDS = 40 if IS_ALL else 15


def changed(data: bytes, dice: random.Random) -> bytes:
    """The data with some bytes changed, removed, repeated, or a number made much larger."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 3, 30))):
        at = dice.randrange(len(out))
        kind = dice.randrange(4)
        if kind == 0:
            out[at] = dice.randrange(256)
        elif kind == 1:
            del out[at : at + dice.choice((1, 8, 200))]
        elif kind == 2:
            out[at:at] = out[at : at + dice.choice((1, 8, 200))]
        else:
            out[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"9999"))
        if not out:
            return b""
    return bytes(out)


async def survive(act: Callable[[Decoder, bytes], object], seeds: list[bytes]) -> int:
    """The number of changed files that gave a result. Checks the wording of every failure."""
    dice, decoder, good = random.Random(20), Decoder(), 0
    try:
        for n in range(ROUNDS):
            try:
                await act(decoder, changed(seeds[n % len(seeds)], dice))  # type: ignore[misc]
                good += 1
            except Failure as failure:
                check(failure)
        await act(decoder, seeds[0])  # type: ignore[misc]
    finally:
        await decoder.close()
    return good


async def _image(decoder: Decoder, data: bytes) -> None:
    image = await decoder.image(data)
    assert 0 < max(image.width, image.height) <= 2048


async def _document(decoder: Decoder, data: bytes) -> None:
    async with contextlib.aclosing(decoder.document(data, ocr="off")) as steps:
        last = [step async for step in steps][-1]
    assert isinstance(last, Document) and last.pages


@pytest.mark.threat("T18", "T19")
def test_changed_images_break_nothing() -> None:
    seeds = list(hostile.accepted().values())
    assert 0 < asyncio.run(survive(_image, seeds)) < ROUNDS


@pytest.mark.threat("T19", "T20")
def test_changed_documents_break_nothing() -> None:
    seeds = [pdfs.pages(3), pdfs.report(), *(data for name, data in pdfs.hostile() if name.startswith("a map of"))]
    assert asyncio.run(survive(_document, seeds)) > 0
