"""SVG -> PNG by resvg, which runs no script and has no network; references out of the file are taken out before it looks.

Runs in the child, its limits set.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET  # in a child without network, files and much memory
from importlib.util import find_spec
from pathlib import Path

from .limits import LONGEST, Refusal

SMALLEST = 512
DPI = 96  # the library's own default makes nothing of points and millimetres
DEFAULT = (300.0, 150.0)  # what browsers take where a drawing names no size
_UNITS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_LENGTH = re.compile(r"\s*\+?(\d+\.?\d*(?:[eE][+-]?\d{1,3})?|\.\d+)\s*([a-z]{0,2})\s*")
# what draws nothing, or something from elsewhere
_DROPPED = {"script", "foreignObject", "iframe", "audio", "video", "handler", "listener"}
_IN_FILE = re.compile(r"\s*(#|data:image/(png|jpe?g|gif|webp);)", re.IGNORECASE)
_OUTSIDE = re.compile(r"(?i)@import[^;]*;?|url\(\s*['\"]?(?!\s*['\"]?#)[^)]*\)")


def to_png(data: bytes) -> bytes:
    """Raises `Refusal`."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise Refusal("no_svg") from None
    try:
        root = ET.fromstring(data)  # noqa: S314  # see above; expat itself bounds what entities grow to
    except (ET.ParseError, ValueError, LookupError):
        raise Refusal("broken_picture") from None
    clean(root)
    width, height = size_of(root)
    longest = min(max(width, height, SMALLEST), LONGEST)
    wide, high = (longest, None) if width >= height else (None, longest)
    try:
        return bytes(
            svg_to_bytes(svg_string=ET.tostring(root, "unicode"), font_dirs=_fonts(), width=wide, height=high, dpi=DPI)
        )
    except MemoryError:
        raise
    except BaseException:  # a panic of the library is no Exception
        raise Refusal("broken_picture") from None


def clean(root: ET.Element) -> None:
    """Take out scripts, foreign content and every reference that leaves the file."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        for name in [name for name in element.attrib if _is_outside(name, element.attrib[name])]:
            del element.attrib[name]
        for name in ("style", "fill", "stroke", "filter", "mask", "clip-path"):
            if name in element.attrib:
                element.attrib[name] = _OUTSIDE.sub("", element.attrib[name])
        if _local(element.tag) == "style" and element.text:
            element.text = _OUTSIDE.sub("", element.text)
        for child in list(element):
            if not isinstance(child.tag, str) or _local(child.tag) in _DROPPED:
                element.remove(child)
            else:
                waiting.append(child)


def _is_outside(name: str, value: str) -> bool:
    local = _local(name)
    return local.lower().startswith("on") or (local in ("href", "src") and not _IN_FILE.match(value))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def size_of(root: ET.Element) -> tuple[int, int]:
    """Pixels that the drawing asks for, by its size or its view box. Raises `Refusal` where it asks for none."""
    box = [float(v) for v in re.findall(r"-?\d+\.?\d*", root.get("viewBox", ""))[:4]]
    fallback = (box[2], box[3]) if len(box) == 4 and min(box[2:]) > 0 else DEFAULT
    sides = [_pixels(root.get(name), other) for name, other in zip(("width", "height"), fallback, strict=True)]
    if min(sides) <= 0 or max(sides) > sys.maxsize:
        raise Refusal("no_pixels")
    return max(1, round(sides[0])), max(1, round(sides[1]))


def _pixels(text: str | None, fallback: float) -> float:
    match = _LENGTH.fullmatch(text or "")
    return float(match[1]) * _UNITS.get(match[2], 1.0) if match else fallback


def _fonts() -> list[str]:
    """Beside the system's fonts, those that come with matplotlib: a server often has none of its own."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return [str(folder)] if folder.is_dir() else []
