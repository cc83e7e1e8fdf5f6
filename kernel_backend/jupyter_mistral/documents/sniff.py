"""Detects the type of a file from its first bytes, not from its name or declared type. Standard library only."""

from __future__ import annotations

import re

_MARKS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
)
# a prologue in any order, then the root element, within the first bytes
_HEAD = 16 * 2**10
_SVG = re.compile(
    r"\ufeff?(?:\s+|<\?[^>]{0,500}\?>|<!--(?:[^-]|-(?!->)){0,4000}-->|<!DOCTYPE[^\[>]{0,500}(?:\[[^\]]{0,4000}\]\s*)?>)*"
    r"<(?:[\w.-]{1,40}:)?svg[\s>/]"
)


def kind_of(data: bytes) -> str | None:
    """png, jpeg, webp, gif, svg or pdf; None for anything else."""
    for mark, kind in _MARKS:
        if data.startswith(mark):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    # PDF readers accept up to a kilobyte before the mark
    if b"%PDF-" in data[:1024]:
        return "pdf"
    return "svg" if _SVG.match(data[:_HEAD].decode("utf-8", "replace")) else None
