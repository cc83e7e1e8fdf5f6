"""`python -m jupyter_mistral.documents`: the child. One order on stdin, its answer on stdout in frames of `wire.py`, the end.

It tells why it refuses by a word of `limits.REFUSALS`, never by text of its own: whoever made the file may have written it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..protocol.wire import FrameReader, to_frame
from . import cell
from .limits import DOCUMENT, PICTURE, SCAN, Refusal
from .sniff import kind_of


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    taking, giving = os.dup(0), os.dup(1)
    # a library that prints must not speak in our name
    os.dup2(2, 1)
    sealed = cell.lock()
    _preload()
    _send(giving, {"type": "ready", "seal": asdict(sealed)})
    order, blob = _take(taking)
    try:
        _obey(order, blob, giving)
    except Refusal as refusal:
        _send(giving, {"type": "refused", "reason": refusal.reason, "n": refusal.n})
    except (MemoryError, RecursionError):
        reason = "exhausted" if order["type"] == "picture" else "too_long"
        _send(giving, {"type": "refused", "reason": reason, "n": 0})
    except Exception as error:  # the edge: the parent's log gets the class, never the words, which may quote the file
        _send(giving, {"type": "failed", "error": type(error).__name__})
    os._exit(0)


def _preload() -> None:
    """What nearly every picture needs, imported while nobody waits."""
    try:
        from . import pictures
    except ImportError:
        return
    assert pictures.PLUGINS


def _take(fd: int) -> tuple[dict[str, Any], bytes]:
    frames = FrameReader()
    while data := os.read(fd, 1 << 20):
        for frame in frames.feed(data):
            return frame
    os._exit(0)  # nobody wants anything any more


def _send(fd: int, header: Mapping[str, Any], blob: bytes = b"") -> None:
    rest = memoryview(to_frame(header, blob))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _obey(order: Mapping[str, Any], blob: bytes, giving: int) -> None:
    if order["type"] == "picture":
        cell.bound(PICTURE)
        _picture(blob, giving)
    else:
        cell.bound(SCAN if order["ocr"] else DOCUMENT)
        _document(order, blob, giving)


def _picture(blob: bytes, giving: int) -> None:
    kind = kind_of(blob)
    if kind not in ("png", "jpeg", "webp", "gif", "svg"):
        raise Refusal("not_a_picture")
    try:
        from . import pictures
    except ImportError:
        raise Refusal("no_pillow") from None
    if kind == "svg":
        from . import drawings

        blob, kind = drawings.to_png(blob), "png"
    cell.close()
    made = pictures.to_png(blob, kind)
    _send(giving, {"type": "picture", "width": made.width, "height": made.height, "was": made.was}, made.data)


def _document(order: Mapping[str, Any], blob: bytes, giving: int) -> None:
    if kind_of(blob) != "pdf":
        raise Refusal("not_a_document")
    from .reading import read

    for header in read(blob, order["pages"], order["ocr"], before=cell.close):
        _send(giving, header)


if __name__ == "__main__":
    main()
