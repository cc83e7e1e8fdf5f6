"""`python -m jupyter_mistral.server.http.large_body_child`: the child of `large_body.py`. Speaks frames on stdin and stdout; ends with stdin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.failures import Failure
from ...protocol.wire import FrameReader, read_json, to_frame
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER
from .large_body import PARSERS, PIECE_BYTES

if TYPE_CHECKING:
    from ...context import Job, PromptInputs
    from ...context.token_counts import TokenCounter


class Reader:
    """Reads one request and works with its notebook. Every frame except `piece` gets one reply."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._notebook: dict[str, Any] | None = None
        self._counter: TokenCounter | None = None

    def take(self, header: dict[str, Any], blob: bytes) -> bytes | None:
        if header["type"] == "piece":
            self._body += blob
            return None
        body, self._body = bytes(self._body), bytearray()
        try:
            if header["type"] == "parse":
                notebook, rest = self._parse(body, header["parser"])
                return to_frame({"type": "parsed", "notebook": notebook}, rest)
            size = header["order"]
            return to_frame({"type": "done"}, self._work(body[:size], body[size:]))
        except Failure as failure:
            return to_frame({"type": "failed", "failure": failure.to_dict()})

    def _parse(self, body: bytes, parser: str) -> tuple[dict[str, Any] | None, bytes]:
        """The notebook without its cells, and the body with that in its place. Raises the parser's `Failure`."""
        value = read_json(body)
        PARSERS[parser](value)
        extras = value.get("mistral")
        notebook = extras.get("notebook") if isinstance(extras, dict) else None
        if notebook is None:
            return None, body
        self._notebook = notebook
        extras["notebook"] = {"cells": [], "path": str(notebook.get("path") or "")[:4096]}
        return extras["notebook"], json.dumps(value).encode()

    def _work(self, packed: bytes, images: bytes) -> bytes:
        from ...context import Built
        from . import large_body_format

        order = json.loads(packed)
        job = large_body_format.unpack_job(order["job"], images)
        result = large_body_format.unpack_work(order["work"]).do(self._inputs(job, order["tokenizer"]))
        images = b""
        if isinstance(result, Built):
            reply, images = large_body_format.pack_built(result)
        else:
            reply = large_body_format.pack_plan(result)  # type: ignore[assignment]  # JSON, null for no plan
        text = json.dumps(reply).encode()
        return len(text).to_bytes(8, "big") + text + images

    def _inputs(self, job: Job, tokenizer: str | None) -> PromptInputs:
        """The job with functions that count as `server/prompts/token_counters.py` does for a model with the same tokenizer."""
        from ...context.token_counts import TokenCounter, estimated_overhead

        if tokenizer is None:
            return job.inputs(
                self._notebook, lambda texts: [len(t.encode()) // 3 + 1 for t in texts], estimated_overhead
            )
        counter = self._counter = self._counter or TokenCounter(Path(tokenizer))
        if not (counter.folder / TEXT_TOKENIZER).is_file():
            return job.inputs(self._notebook, counter.count, estimated_overhead)
        return job.inputs(self._notebook, counter.count, lambda m: counter.overhead(m, job.tools), counter.image)


def _frames() -> Iterator[tuple[dict[str, Any], bytes]]:
    frames = FrameReader()
    while data := os.read(0, PIECE_BYTES):
        yield from frames.feed(data)


def main() -> int:
    os.nice(5)
    reader = Reader()
    for header, blob in _frames():
        reply = reader.take(header, blob)
        if reply is not None:
            sys.stdout.buffer.write(reply)
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
