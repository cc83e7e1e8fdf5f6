"""Decodes the images of a request, each in a child process before anything else reads it. Caches the latest results."""

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

CACHE_BYTES = 64 * 2**20
# all images of a request are sent to the worker in one frame of up to 64 MB
MAX_BYTES = 56 * 2**20


class Pictures:
    """A chat sends its images again with every question, so the latest decoded ones are cached."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._cache: OrderedDict[bytes, Image] = OrderedDict()
        self._cached_bytes = 0

    async def request(self, request: ChatRequest) -> ChatRequest:
        """The request with its images as plain PNGs. Raises `Failure` that names the image which was refused."""
        results = await self._decode_all(request.messages)
        for result in results:
            if isinstance(result, Failure):
                raise result
        if sum(len(image.data) for image in results if isinstance(image, Image)) > MAX_BYTES:
            message = f"The images exceed {MAX_BYTES >> 20} MB in total."
            raise Failure("too_large", message, "Send fewer or smaller ones.", "messages")
        return replace(request, messages=_with_images(request.messages, results))

    async def known(self, messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """Like `request`, but leaves out images that cannot be decoded (outputs of the notebook) and says which."""
        size, left_out = 0, []
        images: list[str | Image] = []
        for result in await self._decode_all(messages):
            size += len(result.data) if isinstance(result, Image) else 0
            if isinstance(result, Image) and size <= MAX_BYTES:
                images.append(result)
            else:
                images.append("[an image that could not be decoded]")
                left_out.append("an image of the notebook that could not be decoded")
        return _with_images(messages, images), tuple(left_out)

    async def _decode_all(self, messages: Sequence[Message]) -> list[Image | Failure]:
        """The result for each image, in order; the decoder runs a few at a time."""
        images = [image for message in messages for image in message.images]
        tasks = [asyncio.ensure_future(self._decode(image, f"Image {n}")) for n, image in enumerate(images, 1)]
        try:
            return [await _or_failure(task) for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _decode(self, image: Image, what: str) -> Image:
        key = hashlib.sha256(image.data).digest()
        decoded = self._cache.get(key)
        if decoded is None:
            decoded = (await self._decoder.image(image.data, what)).image
            self._keep(key, decoded)
            # the decoded image is looked up too: first with the request, then with the images of its notebook
            self._keep(hashlib.sha256(decoded.data).digest(), decoded)
        self._cache.move_to_end(key)
        return decoded

    def _keep(self, key: bytes, image: Image) -> None:
        if key not in self._cache:
            self._cache[key] = image
            self._cached_bytes += len(image.data)
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 2:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1].data)


async def _or_failure(task: asyncio.Future[Image]) -> Image | Failure:
    try:
        return await task
    except Failure as failure:
        return failure


def _with_images(messages: Sequence[Message], results: Sequence[str | Image | Failure]) -> tuple[Message, ...]:
    remaining = iter(results)

    def part(original: str | Image) -> str | Image:
        result = next(remaining) if isinstance(original, Image) else original
        assert not isinstance(result, Failure)
        return result

    return tuple(replace(message, content=tuple(map(part, message.content))) for message in messages)
