"""`%mistral read`: a PDF to the host, its Markdown back into a variable, a cell or the talk. Decodes nothing itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from IPython.core.error import UsageError

from ..protocol.documents import MAX_DOCUMENT_BYTES, Document
from .documents import Paper
from .errors import MistralError

OCR = ("auto", "on", "off")
_VALUED = {"--pages": "pages", "--ocr": "ocr", "--out": "out", "-o": "out"}
_USAGE = "%mistral read FILE [--pages 2-5] [--ocr auto|on|off] [--out NAME | --cell]"


class Host(Protocol):
    """What reads: `client.Client`."""

    def upload(self, path: str, data: bytes, kind: str) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True)
class Order:
    """What `%mistral read` asks for. out: a variable; to_cell: a new cell; neither: the questions that follow see it."""

    file: str
    pages: str = ""
    ocr: str = "auto"
    out: str = ""
    to_cell: bool = False


def words_of(rest: str) -> tuple[str, ...] | None:
    """The words of a line that begins with `read` if it is the command; None for a question."""
    try:
        words = shlex.split(rest)[1:]
    except ValueError:  # an apostrophe: words
        return None
    if not words:
        return ()
    plain, at, is_flagged = [], 0, False
    while at < len(words):
        if words[at].startswith("-") and len(words[at]) > 1:
            is_flagged = True
            at += 2 if words[at].partition("=")[0] in _VALUED and "=" not in words[at] else 1
            continue
        plain.append(words[at])
        at += 1
    is_file = bool(plain) and any(c in plain[0] for c in "./\\~") and plain[0][-1] not in "?!"
    # with a flag, also one that there is not, it is meant as the command: then the flag is told
    return tuple(words) if is_file and (len(plain) == 1 or (is_flagged and len(plain) == 2)) else None


def parse(words: Sequence[str], out: str = "") -> Order:
    """Raises `UsageError`."""
    found: dict[str, Any] = {"out": out}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--cell":
            found["to_cell"] = True
        elif name in _VALUED:
            if not equals and not rest:
                raise UsageError(f"{name} needs a value. {_USAGE}")
            found[_VALUED[name]] = value if equals else rest.pop(0)
        elif name.startswith("-") and len(name) > 1:
            raise UsageError(f"%mistral read has no flag {name}. {_USAGE}")
        else:
            found["file"] = name + equals + value
    if "file" not in found:
        raise UsageError(f"Which file? {_USAGE}")
    order = Order(**found)
    if order.ocr not in OCR:
        raise UsageError(f"--ocr is {order.ocr!r}, but must be one of {', '.join(OCR)}.")
    if order.out and not order.out.isidentifier():
        raise UsageError(f"--out {order.out!r} cannot be the name of a variable. Take a name such as paper.")
    if order.out and order.to_cell:
        raise UsageError("--out and --cell are two places. Take one.")
    return order


def fetch(order: Order, host: Host, tell: Callable[[str, float | None], None]) -> Paper:
    """Have the host read the file, telling how far it is. Raises `MistralError` and `Failure`."""
    name, data = load(order.file)
    tell(f"Reading {name}", None)
    query = urlencode({"pages": order.pages, "ocr": order.ocr})
    for chunk in host.upload(f"/mistral/api/read?{query}", data, "application/pdf"):
        event = chunk.get("mistral") or {}
        if event.get("event") == "page_read":
            done, total = int(event["done"]), int(event["total"])
            how = ", recognizing its text" if event.get("how") == "ocr" else ""
            tell(f"Reading {name}: page {done} of {total}{how}", done / total)
        elif event.get("event") == "document":
            return Paper(name, Document.of_dict(event["document"]))
    raise MistralError(f"{name} was not read to its end. Try again.")


def load(file: str) -> tuple[str, bytes]:
    """A file's own name and its bytes. Raises `MistralError`."""
    if "://" in file:
        raise MistralError("%mistral read takes a file on this machine; nothing is fetched. Download it first.")
    path = Path(os.path.expanduser(file))
    try:
        size = path.stat().st_size if path.is_file() else None
        data = path.read_bytes() if size is not None and size <= MAX_DOCUMENT_BYTES else b""
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "that is no name of a file"
        raise MistralError(f"{path.name} could not be read: {why}.") from None
    if size is None:
        raise MistralError(f"There is no file called {file}.")
    if size > MAX_DOCUMENT_BYTES:
        raise MistralError(f"{path.name} holds more than {MAX_DOCUMENT_BYTES >> 20} MB. Split it first.")
    if data and b"%PDF-" not in data[:1024]:  # where readers of PDF look for it
        todo = f"A picture: `%mistral --see {path.name}`. A table or text: read it into a variable, and ask about {{name}}."
        raise MistralError(f"{path.name} is no PDF. {todo}")
    return path.name, data


def summary(paper: Paper) -> str:
    """One line about what was read."""
    document = paper.document
    read, count = len(document.pages), document.page_count
    parts = [f"{read} page{'s' if read != 1 else ''}" if read == count else f"{read} of {count} pages"]
    for how, words in (("ocr", "recognized"), ("none", "without text")):
        number = sum(page.how == how for page in document.pages)
        parts += [f"{number} {words}"] if number else []
    return f"{paper.name}: {', '.join(parts)}."
