"""The text of a PDF, and the progress of reading it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DOCUMENT_TYPES = ("application/pdf", "application/octet-stream")
MAX_DOCUMENT_BYTES = 50 * 2**20


@dataclass(frozen=True)
class PageRead:
    """Progress of `POST /mistral/api/read`: `done` of `total` pages. how: text (embedded in the file), ocr (recognized), none."""

    done: int
    total: int
    how: str = "text"


@dataclass(frozen=True)
class Page:
    """A page of a document as Markdown. number: the page's position in the file, from 1."""

    number: int
    markdown: str
    how: str = "text"


@dataclass(frozen=True)
class Document:
    """The text of a PDF. page_count: of the whole file; `pages` may be a part of it.

    `POST /mistral/api/read?pages=2-5,8&ocr=auto|on|off&name=paper.pdf` takes the file's bytes as `application/pdf` and answers
    with a stream: `{"mistral": {"event": "page_read", "done", "total", "how"}}` for each page, then
    `{"mistral": {"event": "document", "document": {"title", "page_count", "pages": [{"number", "markdown", "how"}], "markdown"}}}`
    and [DONE]; or a failure instead.
    """

    title: str
    page_count: int
    pages: tuple[Page, ...]

    @property
    def markdown(self) -> str:
        """All pages, each after its anchor `[page 3]`, which answers cite."""
        return "\n\n".join(f"[page {page.number}]\n\n{page.markdown}".strip() for page in self.pages)

    def __str__(self) -> str:
        return self.markdown

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"markdown": self.markdown}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Document:
        pages = (Page(int(p["number"]), str(p["markdown"]), str(p["how"])) for p in data["pages"])
        return cls(str(data["title"]), int(data["page_count"]), tuple(pages))
