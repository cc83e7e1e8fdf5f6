"""`python -m jupyter_mistral.server.http.large_body_child`: the child of `aside.py`. Frames on standard input and output; ends with its input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.wire import FrameReader, read_json, to_frame
from ..prompts.token_counts import OURS, PER_MESSAGE, PER_PROMPT
from .large_body import PARSERS, PIECE

if TYPE_CHECKING:
    from ...context import Given, Job
    from ...context.token_counts import TokenCounter


class Reader:
    """What was read of one request. Each frame but a `piece` gets one reply."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._notebook: dict[str, Any] | None = None
        self._tokens: TokenCounter | None = None

    def take(self, header: dict[str, Any], blob: bytes) -> bytes | None:
        if header["type"] == "piece":
            self._body += blob
            return None
        body, self._body = bytes(self._body), bytearray()
        try:
            if header["type"] == "parse":
                told, rest = self._parse(body, header["parser"])
                return to_frame({"type": "parsed", "notebook": told}, rest)
            return to_frame({"type": "done"}, self._work(body[: header["order"]], body[header["order"] :]))
        except Failure as failure:
            return to_frame({"type": "failed", "failure": failure.to_dict()})

    def _parse(self, body: bytes, parser: str) -> tuple[dict[str, Any] | None, bytes]:
        """What to tell of the notebook, and the body without it. Raises the parser's `Failure`."""
        value = read_json(body)
        PARSERS[parser](value)
        mine = value.get("mistral")
        notebook = mine.get("notebook") if isinstance(mine, dict) else None
        if notebook is None:
            return None, body
        self._notebook = notebook
        told = {"cells": [], "path": str(notebook.get("path") or "")[:4096]}
        mine["notebook"] = told
        return told, json.dumps(value).encode()

    def _work(self, order: bytes, blob: bytes) -> bytes:
        from ...context import Built
        from . import large_body_format

        told = json.loads(order)
        job = large_body_format.unpack_job(told["job"], blob)
        made = large_body_format.unpack_work(told["work"]).do(self._given(job, told["tokenizer"]))
        pictures = b""
        if isinstance(made, Built):
            reply, pictures = large_body_format.pack_built(made)
        else:
            reply = large_body_format.pack_plan(made)  # type: ignore[assignment]  # JSON, null for no plan
        text = json.dumps(reply).encode()
        return len(text).to_bytes(8, "big") + text + pictures

    def _given(self, job: Job, tokenizer: str | None) -> Given:
        from ...context.token_counts import TokenCounter

        def overhead(messages: Sequence[Message]) -> int:
            return PER_PROMPT + PER_MESSAGE * len(messages)

        if tokenizer is None:
            return job.given(self._notebook, lambda texts: [len(t.encode()) // 3 + 1 for t in texts], overhead)
        tokens = self._tokens = self._tokens or TokenCounter(Path(tokenizer))
        if not (tokens.folder / OURS).is_file():
            return job.given(self._notebook, tokens.count, overhead)
        return job.given(self._notebook, tokens.count, lambda m: tokens.overhead(m, job.tools), tokens.image)


def _frames() -> Iterator[tuple[dict[str, Any], bytes]]:
    frames = FrameReader()
    while data := os.read(0, PIECE):
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
