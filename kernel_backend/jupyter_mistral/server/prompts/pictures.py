"""The pictures of a request, each decoded in a child of its own before anybody else looks at it; those seen before are remembered."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from ...documents.decoder import Decoder
from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.images import Image
from ...protocol.requests import ChatRequest

KEPT_BYTES = 64 * 2**20
# all pictures of a request travel to the worker in one frame of 64 MB
MOST_BYTES = 56 * 2**20


class Pictures:
    """A chat sends its pictures again with every question, so what came of the latest ones is kept."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._kept: OrderedDict[bytes, Image] = OrderedDict()
        self._size = 0

    async def request(self, request: ChatRequest) -> ChatRequest:
        """The request with plain PNGs in place of its pictures. Raises `Failure` that says which picture is refused."""
        made = await self._all(request.messages)
        for one in made:
            if isinstance(one, Failure):
                raise one
        if sum(len(image.data) for image in made if isinstance(image, Image)) > MOST_BYTES:
            raise Failure(
                "too_large", "The pictures together hold too much.", "Send fewer or smaller ones.", "messages"
            )
        return replace(request, messages=_with(request.messages, made))

    async def known(self, messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """As `request`, but a picture that cannot be decoded (an output of the notebook) is left out, and that is told."""
        made = await self._all(messages)
        size, told, kept = 0, [], []
        for one in made:
            size += len(one.data) if isinstance(one, Image) else 0
            is_kept = isinstance(one, Image) and size <= MOST_BYTES
            kept.append(one if is_kept else "[a picture that could not be decoded]")
            if not is_kept:
                told.append("a picture of the notebook that could not be decoded")
        return _with(messages, kept), tuple(told)

    async def _all(self, messages: Sequence[Message]) -> list[Image | Failure]:
        """What came of each picture, in the order of the messages; the decoder takes a few at a time."""
        given = [image for message in messages for image in message.images]
        work = [asyncio.ensure_future(self._decoded(image, f"Picture {n}")) for n, image in enumerate(given, 1)]
        try:
            return [await _or_failure(one) for one in work]
        finally:
            for one in work:
                one.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _decoded(self, image: Image, what: str) -> Image:
        key = hashlib.sha256(image.data).digest()
        found = self._kept.get(key)
        if found is None:
            found = (await self._decoder.picture(image.data, what)).image
            self._keep(key, found)
            # what came of it comes by again: after the request, with the pictures of its notebook
            self._keep(hashlib.sha256(found.data).digest(), found)
        self._kept.move_to_end(key)
        return found

    def _keep(self, key: bytes, image: Image) -> None:
        if key not in self._kept:
            self._kept[key] = image
            self._size += len(image.data)
        while self._size > KEPT_BYTES and len(self._kept) > 2:
            self._size -= len(self._kept.popitem(last=False)[1].data)


async def _or_failure(work: asyncio.Future[Image]) -> Image | Failure:
    try:
        return await work
    except Failure as failure:
        return failure


def _with(messages: Sequence[Message], made: Sequence[str | Image | Failure]) -> tuple[Message, ...]:
    rest = iter(made)

    def part(given: str | Image) -> str | Image:
        one = next(rest) if isinstance(given, Image) else given
        assert not isinstance(one, Failure)
        return one

    return tuple(replace(message, content=tuple(map(part, message.content))) for message in messages)
