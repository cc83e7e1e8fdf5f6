"""`%mistral read`: sends a PDF to the model host and gets its Markdown back. Decodes nothing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlencode

from ...protocol.documents import MAX_DOCUMENT_BYTES, Document
from ..documents import ReadDocument, neutralize
from ..errors import MistralError
from ..line.read_arguments import ReadArguments, parse_read_words
from ..line.subcommands import Command
from ..line.terminal_text import to_plain
from ..session import Session
from .output import Progress


class UploadClient(Protocol):
    """Implemented by `host.client.Client`."""

    def upload(self, path: str, data: bytes, media_type: str) -> Iterator[dict[str, Any]]: ...


def read(session: Session, command: Command) -> None:
    arguments = parse_read_words(command.words, command.options.out)
    progress = Progress(session.is_notebook)
    with progress.ending_with("Reading stopped.", "The document was not read."):
        document = fetch_document(arguments, session.find_client(), progress.show)
    progress.end(to_plain(f"{summarize(document)}{_deliver(session, arguments, document)}"))


def _deliver(session: Session, arguments: ReadArguments, document: ReadDocument) -> str:
    """Put the document where the user wants it. Return the sentence that says how to use it."""
    shell = cast(Any, session.shell)
    if arguments.to_cell:
        shell.set_next_input(f"%%markdown\n{neutralize(document.markdown)}", replace=False)
        return ""
    if arguments.out:
        shell.push({arguments.out: document}, interactive=True)
        return f" `{arguments.out}.markdown` is its text; {{{arguments.out}}} in a question inserts it."
    session.conversation.add_document(document)
    return " It is sent with all later questions; `%mistral reset` clears it."


def fetch_document(
    arguments: ReadArguments, client: UploadClient, show: Callable[[str, float | None], None]
) -> ReadDocument:
    """Have the model host read the file, and show the progress. Raises `MistralError` and `Failure`."""
    name, data = load_pdf(arguments.file)
    show(f"Reading {name}", None)
    query = urlencode({"pages": arguments.pages, "ocr": arguments.ocr})
    for chunk in client.upload(f"/mistral/api/read?{query}", data, "application/pdf"):
        event = chunk.get("mistral") or {}
        if event.get("event") == "page_read":
            done, total = int(event["done"]), int(event["total"])
            method = " (OCR)" if event.get("how") == "ocr" else ""
            show(f"Reading {name}: page {done} of {total}{method}", done / total)
        elif event.get("event") == "document":
            return ReadDocument(name, Document.of_dict(event["document"]))
    raise MistralError(f"Reading {name} ended early. Try again.")


def load_pdf(file: str) -> tuple[str, bytes]:
    """Return the file's name without its folder, and its bytes. Raises `MistralError`."""
    if "://" in file:
        raise MistralError("%mistral read takes a file on this machine and downloads nothing. Download the file first.")
    path = Path(os.path.expanduser(file))
    try:
        size = path.stat().st_size if path.is_file() else None
        data = path.read_bytes() if size is not None and size <= MAX_DOCUMENT_BYTES else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the file name is not valid"
        raise MistralError(f"{path.name} could not be read: {reason}.") from None
    if size is None:
        raise MistralError(f"The file {file} does not exist.")
    if size > MAX_DOCUMENT_BYTES:
        raise MistralError(f"{path.name} is larger than {MAX_DOCUMENT_BYTES >> 20} MB. Split it first.")
    if data and b"%PDF-" not in data[:1024]:  # PDF readers look for it there
        todo = f"For an image, use `%mistral --see {path.name}`. Load a table or text into a variable and ask about {{name}}."
        raise MistralError(f"{path.name} is not a PDF. {todo}")
    return path.name, data


def summarize(document: ReadDocument) -> str:
    """One line about the document, such as `report.pdf: 4 of 9 pages, 1 recognized by OCR.`"""
    pages, count = document.pages, document.document.page_count
    parts = [f"{count} page{'s' if count != 1 else ''}" if len(pages) == count else f"{len(pages)} of {count} pages"]
    for how, words in (("ocr", "recognized by OCR"), ("none", "without text")):
        number = sum(page.how == how for page in pages)
        parts += [f"{number} {words}"] if number else []
    return f"{document.name}: {', '.join(parts)}."
