"""Encoded images in requests: `data:` URLs in, bytes out. Nothing is fetched. Standard library only."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from .failures import Failure

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
# a request may contain SVG too, which the server rasterizes
PICTURE_TYPES = (*IMAGE_TYPES, "image/svg+xml")
MAX_IMAGES = 8
MAX_IMAGE_BYTES = 20 * 2**20


@dataclass(frozen=True)
class Image:
    """An encoded image (PNG, JPEG, WebP, GIF or SVG bytes), never a URL."""

    mime: str
    data: bytes

    def to_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"

    @classmethod
    def of_url(cls, url: str, where: str) -> Image:
        head, comma, body = url.partition(",")
        mime = head.removeprefix("data:").removesuffix(";base64")
        if not comma or head != f"data:{mime};base64" or mime not in PICTURE_TYPES:
            raise Failure(
                "bad_request",
                f"{where} is not a PNG, JPEG, WebP, GIF or SVG image as a data: URL; images are never fetched.",
                "Send data:image/png;base64,….",
                where,
            )
        if len(body) > MAX_IMAGE_BYTES * 4 // 3 + 4:
            raise Failure("too_large", f"{where} exceeds {MAX_IMAGE_BYTES >> 20} MB.", "Send a smaller image.", where)
        try:
            return cls(mime, base64.b64decode(body, validate=True))
        except (binascii.Error, ValueError):
            raise Failure("bad_request", f"{where} is not valid base64.", "Encode the image again.", where) from None
