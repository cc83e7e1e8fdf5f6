"""The decoder as the server uses it, and what no message of it may hold."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from jupyter_mistral.documents.decoder import Decoder, Picture
from jupyter_mistral.protocol import Document, Failure, PageRead

sys.path.append(str(Path(__file__).parent))  # tests are imported by path: a sibling is found by this alone

from wording import check


@pytest.fixture
def decode() -> Callable[[bytes], Picture | Failure]:
    """What comes of a picture. A failure is checked for its words."""

    async def run(data: bytes) -> Picture | Failure:
        decoder = Decoder()
        try:
            return await decoder.picture(data)
        except Failure as failure:
            check(failure)
            return failure
        finally:
            await decoder.close()

    return lambda data: asyncio.run(run(data))


@pytest.fixture
def read() -> Callable[..., tuple[list[PageRead], Document | Failure]]:
    """The progress and what comes of a document. A failure is checked for its words."""

    async def run(
        data: bytes, pages: Sequence[tuple[int, int]] = (), ocr: str = "off"
    ) -> tuple[list[PageRead], Document | Failure]:
        decoder, told = Decoder(), []
        try:
            async with contextlib.aclosing(decoder.document(data, pages, ocr)) as steps:
                async for step in steps:
                    if isinstance(step, Document):
                        return told, step
                    told.append(step)
        except Failure as failure:
            check(failure)
            return told, failure
        finally:
            await decoder.close()
        raise AssertionError("a document ends in itself or in a failure")

    return lambda *args, **more: asyncio.run(run(*args, **more))
