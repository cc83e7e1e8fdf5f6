"""`python -m jupyter_mistral.documents`: the child. Reads one order on stdin, writes frames of `wire.py` on stdout, and ends.

It gives a key of `limits.REFUSALS` as the reason for a refusal, never free text, which the file's author could have written.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..protocol.wire import FrameReader, to_frame
from . import sandbox
from .limits import DOCUMENT, IMAGE, SCAN, Refusal
from .sniff import kind_of


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.dup(0), os.dup(1)
    # what a library prints must not look like our frames
    os.dup2(2, 1)
    sealed = sandbox.lock()
    _preload()
    _send(target, {"type": "ready", "seal": asdict(sealed)})
    order, blob = _take(source)
    try:
        _run(order, blob, target)
    except Refusal as refusal:
        _send(target, {"type": "refused", "reason": refusal.reason, "n": refusal.n})
    except (MemoryError, RecursionError):
        reason = "exhausted" if order["type"] == "image" else "too_long"
        _send(target, {"type": "refused", "reason": reason, "n": 0})
    except Exception as error:  # the parent logs the class, never the message, which may quote the file
        _send(target, {"type": "failed", "error": type(error).__name__})
    os._exit(0)


def _preload() -> None:
    """Import what nearly every image needs while nobody waits."""
    try:
        from . import images
    except ImportError:
        return
    assert images.PLUGINS


def _take(fd: int) -> tuple[dict[str, Any], bytes]:
    frames = FrameReader()
    while data := os.read(fd, 1 << 20):
        for frame in frames.feed(data):
            return frame
    os._exit(0)  # the parent closed the pipe without an order


def _send(fd: int, header: Mapping[str, Any], blob: bytes = b"") -> None:
    rest = memoryview(to_frame(header, blob))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _run(order: Mapping[str, Any], blob: bytes, target: int) -> None:
    if order["type"] == "image":
        sandbox.limit(IMAGE)
        _image(blob, target)
    else:
        sandbox.limit(SCAN if order["ocr"] else DOCUMENT)
        _document(order, blob, target)


def _image(blob: bytes, target: int) -> None:
    kind = kind_of(blob)
    if kind not in ("png", "jpeg", "webp", "gif", "svg"):
        raise Refusal("not_an_image")
    try:
        from . import images
    except ImportError:
        raise Refusal("no_pillow") from None
    if kind == "svg":
        from . import svg

        blob, kind = svg.to_png(blob), "png"
    sandbox.close()
    png = images.to_png(blob, kind)
    _send(target, {"type": "image", "width": png.width, "height": png.height, "was": png.was}, png.data)


def _document(order: Mapping[str, Any], blob: bytes, target: int) -> None:
    if kind_of(blob) != "pdf":
        raise Refusal("not_a_document")
    from .read_pdf import read_pdf

    for header in read_pdf(blob, order["pages"], order["ocr"], before=sandbox.close):
        _send(target, header)


if __name__ == "__main__":
    main()
