"""Converts a document in the request's body to Markdown, and streams progress and pages. Reads no files of this machine."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from typing import Any

from tornado import web

from ...documents.decoder import Decoder
from ...documents.limits import failure
from ...protocol.documents import DOCUMENT_TYPES, MAX_DOCUMENT_BYTES, Document, PageRead
from ...protocol.failures import Failure
from ..http.handler import Route, Table

BASE = {"object": "mistral.read", "choices": []}
OCR = ("auto", "on", "off")
MAX_RANGES = 100
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?")


def table(decoder: Decoder) -> Table:
    return [(r"/mistral/api/read", Read, {"decoder": decoder})]


class Read(Route):
    """`POST /mistral/api/read?pages=2-5,8&ocr=auto|on|off`: see `protocol.Document`."""

    def initialize(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def _check_body(self) -> None:
        """Documents may be larger than questions. Pages of other origins cannot send these content types."""
        if self._length > MAX_DOCUMENT_BYTES:
            raise failure("The document", "too_large_document")
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in DOCUMENT_TYPES:
            raise web.HTTPError(415)

    async def post(self) -> None:
        pages, ocr = parse_pages(self.get_query_argument("pages", "")), self.get_query_argument("ocr", "auto")
        if ocr not in OCR:
            raise Failure("bad_request", "ocr must be auto, on or off.", "Change it.", "ocr")
        data = bytes(self._body)
        self._body.clear()
        steps: AsyncGenerator[PageRead | Document, None] = self._decoder.document(data, pages, ocr)
        await self.stream(steps, to_chunk, is_early=False)


def to_chunk(step: PageRead | Document) -> Mapping[str, Any]:
    if isinstance(step, Document):
        return {**BASE, "mistral": {"event": "document", "document": step.to_dict()}}
    return {**BASE, "mistral": {"event": "page_read", **asdict(step)}}


def parse_pages(text: str) -> list[tuple[int, int]]:
    """`2-5,8` as ranges of pages, first and last included; empty for no text. Raises `Failure`."""
    ranges: list[tuple[int, int]] = []
    for part in text.split(",") if text.strip() else []:
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last or len(ranges) >= MAX_RANGES:
            raise Failure("bad_request", "pages must be numbers and ranges, such as 2-5,8.", "Change it.", "pages")
        ranges.append((first, last))
    return ranges
