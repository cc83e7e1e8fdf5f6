"""Converts SVG to PNG with resvg, which runs no scripts and has no network. Removes external references first.

Runs in the child, under its limits.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET  # safe here: the child has no network, no files and little memory
from importlib.util import find_spec
from pathlib import Path

from .limits import LONGEST, Refusal

SMALLEST = 512
DPI = 96  # resvg's default ignores points and millimetres
DEFAULT = (300.0, 150.0)  # the size that browsers use if the image names none
_UNITS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_LENGTH = re.compile(r"\s*\+?(\d+\.?\d*(?:[eE][+-]?\d{1,3})?|\.\d+)\s*([a-z]{0,2})\s*")
# elements that draw nothing, or external content
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
        root = ET.fromstring(data)  # noqa: S314  # see above; expat limits how far entities expand
    except (ET.ParseError, ValueError, LookupError):
        raise Refusal("broken_image") from None
    clean(root)
    width, height = size_of(root)
    longest = min(max(width, height, SMALLEST), LONGEST)
    png_width, png_height = (longest, None) if width >= height else (None, longest)
    try:
        return bytes(
            svg_to_bytes(
                svg_string=ET.tostring(root, "unicode"), font_dirs=_fonts(), width=png_width, height=png_height, dpi=DPI
            )
        )
    except MemoryError:
        raise
    except BaseException:  # a panic in resvg is not an Exception
        raise Refusal("broken_image") from None


def clean(root: ET.Element) -> None:
    """Remove scripts, foreign content and every external reference."""
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
    """Width and height in pixels, from the size or the view box. Raises `Refusal` if they are zero."""
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
    """Matplotlib's fonts, in addition to the system's, because a server often has none."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return [str(folder)] if folder.is_dir() else []
