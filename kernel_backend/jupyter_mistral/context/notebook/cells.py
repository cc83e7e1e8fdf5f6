"""Reads a notebook's JSON, even if damaged, as cells with clean text. Knows nothing of budgets or models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# characters read from the start and the end of one text; the middle of a longer one is never even joined. The smaller limits
# are for notebooks of more than MANY cells, so that 100 MB stay cheap
CUTS = {"source": (60_000, 20_000), "output": (12_000, 6_000)}
TIGHT_CUTS = {"source": (3_000, 1_000), "output": (1_500, 700)}
MANY = 2_000
MAX_OUTPUTS = 200
RASTER_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Output:
    """One output. kind: stream, result, error or image. left_out: characters of the middle that were not read."""

    kind: str
    text: str = ""
    html: str = ""
    mime: str = ""
    size: int = 0
    picture: str = field(default="", repr=False)
    left_out: int = 0


@dataclass(frozen=True)
class Cell:
    """One cell. run: its execution count, None if it never ran. key: its id, empty before nbformat 4.5."""

    index: int
    kind: str
    source: str
    run: int | None = None
    outputs: tuple[Output, ...] = ()
    key: str = ""
    left_out: int = 0

    @property
    def is_code(self) -> bool:
        return self.kind == "code"

    @property
    def is_empty(self) -> bool:
        return not self.source.strip() and not self.outputs

    def digest(self) -> str:
        """A hash of everything but the run number: if it is unchanged, the cell need not be sent again."""
        parts = [self.kind, self.source, str(self.left_out)]
        for out in self.outputs:
            parts += [out.kind, out.text, out.html, out.mime, str(out.size), str(out.left_out)]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def read(notebook: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    """The cells of a notebook of nbformat 2 to 4. Invalid parts read as empty text, never as an error."""
    raw = _raw_cells(notebook)
    cuts = CUTS if len(raw) <= MANY else TIGHT_CUTS
    return tuple(_cell(i, cell, cuts) for i, cell in enumerate(raw))


def language(notebook: Mapping[str, Any] | None) -> str:
    """The notebook's language in lower case, "python" if it names none."""
    top = _mapping(notebook)
    meta = _mapping(top.get("metadata"))
    names = (
        top.get("language"),
        _mapping(meta.get("language_info")).get("name"),
        _mapping(meta.get("kernelspec")).get("language"),
    )
    return next((clean_text(n)[:30].strip().lower() for n in names if isinstance(n, str) and n.strip()), "python")


def clean_text(text: str) -> str:
    """Remove lone surrogates and control characters; tabs and line ends stay."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub("", text)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else ()


def _raw_cells(notebook: object) -> Sequence[Any]:
    top = _mapping(notebook)
    if "cells" in top:
        return _sequence(top["cells"])
    sheets = _sequence(top.get("worksheets"))
    return [cell for sheet in sheets for cell in _sequence(_mapping(sheet).get("cells"))]


def _cell(index: int, raw: object, cuts: Mapping[str, tuple[int, int]]) -> Cell:
    data = _mapping(raw)
    kind = data.get("cell_type")
    # nbformat 3 has heading cells, and code under "input"
    source, left_out = gather(data.get("source", data.get("input")), *cuts["source"])
    if kind == "heading":
        level = data.get("level")
        source, kind = "#" * (level if isinstance(level, int) and 1 <= level <= 6 else 1) + " " + source, "markdown"
    kind = kind if kind in ("code", "markdown", "raw") else "raw"
    run = data.get("execution_count", data.get("prompt_number"))
    key = data.get("id")
    return Cell(
        index=index,
        kind=kind,
        source=clean_text(source).replace("\r", "\n").strip("\n").rstrip(),
        run=run if isinstance(run, int) and not isinstance(run, bool) and 0 <= run < 2**53 else None,
        outputs=_outputs(_sequence(data.get("outputs")), cuts["output"]) if kind == "code" else (),
        key=clean_text(key)[:64] if isinstance(key, str) else "",
        left_out=left_out,
    )


def gather(value: object, head: int, tail: int) -> tuple[str, int]:
    """Join a multiline string (text or list of lines); also returns how many characters of its middle were left out."""
    lines: Iterable[object] = (value,) if isinstance(value, str) else _sequence(value)
    parts = [part for part in lines if isinstance(part, str)]
    total = sum(map(len, parts))
    if total <= head + tail:
        return "".join(parts), 0
    start = _take(parts, head)
    end = _take(parts, tail, backwards=True)
    return start + "\n…\n" + end, total - len(start) - len(end)


def _take(parts: Sequence[str], limit: int, backwards: bool = False) -> str:
    taken: list[str] = []
    for part in reversed(parts) if backwards else parts:
        if limit <= 0:
            break
        taken.append(part[-limit:] if backwards else part[:limit])
        limit -= len(taken[-1])
    return "".join(reversed(taken) if backwards else taken)


def _outputs(raw: Sequence[Any], cut: tuple[int, int]) -> tuple[Output, ...]:
    if len(raw) > MAX_OUTPUTS:
        half = MAX_OUTPUTS // 2
        gap = Output("stream", f"… {len(raw) - MAX_OUTPUTS} outputs left out …")
        return (*_outputs(raw[:half], cut), gap, *_outputs(raw[-half:], cut))
    return tuple(_joined(out for item in raw for out in _output(_mapping(item), cut)))


def _joined(outputs: Iterable[Output]) -> list[Output]:
    """Join neighbouring outputs of one stream, as the notebook shows them."""
    joined: list[Output] = []
    for out in outputs:
        last = joined[-1] if joined else None
        if last and out.kind == last.kind == "stream" and out.mime == last.mime:
            left_out = last.left_out + out.left_out
            joined[-1] = Output("stream", last.text + out.text, mime=out.mime, left_out=left_out)
        else:
            joined.append(out)
    return joined


def _output(raw: Mapping[str, Any], cut: tuple[int, int]) -> Iterable[Output]:
    kind = raw.get("output_type")
    if kind == "stream":
        text, left_out = gather(raw.get("text"), *cut)
        name = raw.get("name", raw.get("stream"))
        yield Output("stream", _screen(text), mime="stderr" if name == "stderr" else "stdout", left_out=left_out)
    elif kind in ("error", "pyerr"):
        yield _error(raw, cut)
    elif kind in ("execute_result", "display_data", "pyout", "update_display_data"):
        yield from _display(_bundle(raw), cut)


def _bundle(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The MIME bundle; nbformat 3 has it in the output itself, under short names."""
    if "data" in raw:
        return _mapping(raw["data"])
    short = {"text": "text/plain", "html": "text/html", "png": "image/png", "jpeg": "image/jpeg", "latex": "text/latex"}
    return {mime: raw[name] for name, mime in short.items() if name in raw}


def _error(raw: Mapping[str, Any], cut: tuple[int, int]) -> Output:
    text, left_out = gather([f"{line}\n" for line in _sequence(raw.get("traceback")) if isinstance(line, str)], *cut)
    name, value = (gather(raw.get(k), 2000, 500)[0] for k in ("ename", "evalue"))
    last = f"{name or 'Error'}: {value}"
    text = _screen(text).rstrip()
    if value.strip() not in text or not text:
        text = f"{text}\n{last}"
    return Output("error", clean_text(text.strip()), mime=clean_text(name), left_out=left_out)


def _display(bundle: Mapping[str, Any], cut: tuple[int, int]) -> Iterable[Output]:
    picture = next((m for m in bundle if isinstance(m, str) and m.startswith("image/")), None)
    text, left_out = gather(bundle.get("text/plain"), *cut)
    if picture is not None:
        data = bundle[picture]
        body = data if isinstance(data, str) and picture in RASTER_IMAGES else ""
        mime = clean_text(picture)[:40]
        yield Output("image", _screen(text), mime=mime, size=_image_size(data), picture=body)
        return
    html = ""
    if "text/html" in bundle:
        html = clean_text(gather(bundle["text/html"], cut[0] * 5, cut[1])[0])
    for mime in ("text/markdown", "text/latex", "application/json"):
        if not text and not html and mime in bundle:
            text, left_out = gather(bundle[mime] if mime != "application/json" else str(bundle[mime])[:50_000], *cut)
    if text or html:
        yield Output("result", _screen(text), html, left_out=left_out)
    elif bundle:
        yield Output("result", "<" + clean_text(str(next(iter(bundle))))[:80] + ">")


def _image_size(data: object) -> int:
    """Bytes of an image in base64. Clients that leave the image out send its size instead."""
    if isinstance(data, int):
        return max(data, 0)
    parts = [data] if isinstance(data, str) else _sequence(data)
    return sum(len(part) for part in parts if isinstance(part, str)) * 3 // 4


def _screen(text: str) -> str:
    """What a terminal would show in the end: no colour codes, and only the last of lines overwritten with `\\r`."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = text.replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return clean_text(text)
