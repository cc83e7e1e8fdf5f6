"""The decoder as the server uses it. Checks the wording of every failure."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from jupyter_mistral.documents.decoder import DecodedImage, Decoder
from jupyter_mistral.protocol.documents import Document, PageRead
from jupyter_mistral.protocol.failures import Failure

sys.path.append(str(Path(__file__).parent))  # tests are imported by path: a sibling is found by this alone

from wording import check


@pytest.fixture(scope="package")
def decoding() -> Iterator[tuple[asyncio.AbstractEventLoop, Decoder]]:
    """One decoder and its loop for all tests, as a server has it: the spare child serves the next test."""
    loop, decoder = asyncio.new_event_loop(), Decoder()
    yield loop, decoder
    loop.run_until_complete(decoder.close())
    loop.close()


@pytest.fixture
def decode(decoding: tuple[asyncio.AbstractEventLoop, Decoder]) -> Callable[[bytes], DecodedImage | Failure]:
    """The decoded image or the failure."""
    loop, decoder = decoding

    async def run(data: bytes) -> DecodedImage | Failure:
        try:
            return await decoder.image(data)
        except Failure as failure:
            check(failure)
            return failure

    return lambda data: loop.run_until_complete(run(data))


@pytest.fixture
def read(
    decoding: tuple[asyncio.AbstractEventLoop, Decoder],
) -> Callable[..., tuple[list[PageRead], Document | Failure]]:
    """The progress, and the document or the failure."""
    loop, decoder = decoding

    async def run(
        data: bytes, pages: Sequence[tuple[int, int]] = (), ocr: str = "off"
    ) -> tuple[list[PageRead], Document | Failure]:
        progress: list[PageRead] = []
        try:
            async with contextlib.aclosing(decoder.document(data, pages, ocr)) as steps:
                async for step in steps:
                    if isinstance(step, Document):
                        return progress, step
                    progress.append(step)
        except Failure as failure:
            check(failure)
            return progress, failure
        raise AssertionError("the stream ends with a document or a failure")

    return lambda *args, **more: loop.run_until_complete(run(*args, **more))
