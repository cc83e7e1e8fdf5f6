"""The parent's side: runs a child process for each file. A spare child is kept ready, because starting one takes longest.

Knows no HTTP. A malicious file may control the child, so everything it sends is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import struct
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import child
from ..protocol.documents import MAX_DOCUMENT_BYTES, Document, Page, PageRead
from ..protocol.failures import Failure
from ..protocol.images import MAX_IMAGE_BYTES, Image
from ..protocol.wire import FrameReader, to_frame
from .limits import DOCUMENT, IMAGE, LONGEST, REFUSALS, SCAN, Limits, failure

COMMAND = child.python("jupyter_mistral.documents")
# an unused spare child is ended after this time
SPARE_S = 120.0
AT_ONCE = 2
UNRECOGNIZED = "*[scanned page; its text was not recognized]*"
_PNG = struct.Struct(">8sI4sIIBBBBB")
_HEAD = b"\x89PNG\r\n\x1a\n"
log = logging.getLogger("jupyter_mistral")


@dataclass(frozen=True)
class DecodedImage:
    """An RGB image, upright, at most `LONGEST` pixels a side. was: its size before."""

    image: Image
    width: int
    height: int
    was: tuple[int, int]


class Decoder:
    """Decodes files on one event loop. `close` ends all children."""

    def __init__(self) -> None:
        self._spare: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._retire: asyncio.TimerHandle | None = None
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._ends: set[asyncio.Task[None]] = set()

    async def image(self, data: bytes, what: str = "The image") -> DecodedImage:
        """The decoded image. what: names the image in the `Failure` that is raised."""
        if len(data) > MAX_IMAGE_BYTES:
            raise failure(what, "too_many_bytes")
        async with contextlib.aclosing(self._ask({"type": "image"}, data, IMAGE, what, "exhausted")) as frames:
            async for header, blob in frames:
                if header["type"] == "image":
                    return _checked(header, blob, what)
        raise failure(what, "exhausted")

    async def document(
        self, data: bytes, pages: Sequence[tuple[int, int]] = (), ocr: str = "auto", what: str = "The document"
    ) -> AsyncGenerator[PageRead | Document, None]:
        """Yield progress page by page, then the document. Raises `Failure`.

        pages: ranges, first and last included; empty for all. ocr: "on" recognizes every page, "auto" those without text.
        """
        if len(data) > MAX_DOCUMENT_BYTES:
            raise failure(what, "too_large_document")
        if ocr != "auto":
            async with contextlib.aclosing(self._document(data, pages, ocr == "on", what)) as steps:
                async for step in steps:
                    yield step
            return
        async with contextlib.aclosing(self._document(data, pages, False, what)) as steps:
            async for step in steps:
                if isinstance(step, Document):
                    document = step
                elif step.how != "none":
                    yield step
        scanned = [page.number for page in document.pages if page.how == "none"]
        if not scanned:
            yield document
            return
        async with contextlib.aclosing(self._recognized(data, document, scanned, what)) as steps:
            async for step in steps:
                yield step

    async def _recognized(
        self, data: bytes, document: Document, scanned: Sequence[int], what: str
    ) -> AsyncGenerator[PageRead | Document, None]:
        """The document with its scanned pages recognized. Raises `Failure` without a recognizer if all pages are scanned."""
        done, total = len(document.pages) - len(scanned), len(document.pages)
        try:
            async with contextlib.aclosing(self._document(data, [(n, n) for n in scanned], True, what)) as steps:
                async for step in steps:
                    if isinstance(step, PageRead):
                        yield PageRead(done + step.done, total, step.how)
                    else:
                        made = {page.number: page for page in step.pages}
                        yield replace(document, pages=tuple(made.get(page.number, page) for page in document.pages))
        except Failure as refused:
            if refused.code != "unsupported" or not done:
                raise
            missing = [replace(page, markdown=UNRECOGNIZED) if page.how == "none" else page for page in document.pages]
            yield replace(document, pages=tuple(missing))

    async def _document(
        self, data: bytes, pages: Sequence[tuple[int, int]], is_ocr: bool, what: str
    ) -> AsyncGenerator[PageRead | Document, None]:
        """Read the pages in one child."""
        order = {"type": "document", "pages": [list(span) for span in pages], "ocr": is_ocr}
        finished: list[Page] = []
        async with contextlib.aclosing(
            self._ask(order, data, SCAN if is_ocr else DOCUMENT, what, "too_long")
        ) as frames:
            async for header, _ in frames:
                if header["type"] == "page_read":
                    yield PageRead(int(header["done"]), int(header["total"]), _how(header))
                elif header["type"] == "page":
                    finished.append(Page(int(header["number"]), str(header["markdown"]), _how(header)))
                elif header["type"] == "document":
                    yield Document(str(header["title"]), int(header["page_count"]), tuple(finished))
                    return
        raise failure(what, "too_long")

    async def close(self) -> None:
        if self._retire is not None:
            self._retire.cancel()
        self._drop()
        await asyncio.gather(*self._ends, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ one child

    async def _ask(
        self, order: Mapping[str, Any], data: bytes, limits: Limits, what: str, when_dead: str
    ) -> AsyncGenerator[tuple[dict[str, Any], bytes], None]:
        """The child's frames. Raises `Failure` if it refuses, dies or stops responding."""
        async with self._turn:
            process = await self._take()
            try:
                async with contextlib.aclosing(_frames(process, order, data, limits.silence_s)) as frames:
                    async for header, blob in frames:
                        _check_outcome(header, what, when_dead)
                        yield header, blob
            except (asyncio.TimeoutError, OSError, ValueError, KeyError, TypeError):
                raise failure(what, when_dead) from None
            finally:
                await _end(process)

    async def _take(self) -> asyncio.subprocess.Process:
        """An unused child. Starts the next spare."""
        spare, self._spare = self._spare, None
        process = await spare if spare is not None else await _start()
        if process.returncode is not None:
            process = await _start()
        if self._spare is None:  # otherwise another call has started one meanwhile
            self._spare = asyncio.create_task(_start())
        if self._retire is not None:
            self._retire.cancel()
        self._retire = asyncio.get_running_loop().call_later(SPARE_S, self._drop)
        return process

    def _drop(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            task = asyncio.create_task(_ended(spare))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)


def _check_outcome(header: Mapping[str, Any], what: str, when_dead: str) -> None:
    """Raise the child's refusal as a `Failure`; log an error of the child."""
    if header["type"] == "refused":
        reason, n = str(header.get("reason")), header.get("n")
        raise failure(what, reason if reason in REFUSALS else when_dead, n if isinstance(n, int) else 0)
    if header["type"] == "failed":
        log.warning("mistral: decoding failed: %s", re.sub(r"\W", "", str(header.get("error")))[:40])


def _how(header: Mapping[str, Any]) -> str:
    return header["how"] if header.get("how") in ("text", "ocr") else "none"


async def _start() -> asyncio.subprocess.Process:
    env = child.environment(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"}
    return await child.start(COMMAND, env=env, stdin=PIPE, stdout=PIPE, limit=2**20)


async def _frames(
    process: asyncio.subprocess.Process, order: Mapping[str, Any], data: bytes, silence_s: float
) -> AsyncGenerator[tuple[dict[str, Any], bytes], None]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(to_frame(order, data))
    frames = FrameReader()
    while chunk := await asyncio.wait_for(process.stdout.read(2**18), silence_s):
        for frame in frames.feed(chunk):
            yield frame


async def _ended(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    with contextlib.suppress(OSError):
        await _end(await starting)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the child and all its processes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None and not process.stdin.transport.is_closing():
        # drop what it has not read
        process.stdin.transport.abort()
    await process.wait()
    if process.stdout is not None:
        # read to the end: only then does asyncio close the pipe
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(process.stdout.read(), 5.0)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()


def _checked(header: Mapping[str, Any], blob: bytes, what: str) -> DecodedImage:
    """The child's image, if it is a plain RGB PNG of the stated and allowed size."""
    width, height, was = header["width"], header["height"], header["was"]
    plain = _PNG.pack(_HEAD, 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    if max(width, height) > LONGEST or not blob.startswith(plain):
        raise failure(what, "broken_image")
    return DecodedImage(Image("image/png", blob), width, height, (int(was[0]), int(was[1])))
