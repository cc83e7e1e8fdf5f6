"""Documents that were read, and what of them goes along with a question: all of it, or the pages that the question is about."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.conversation import Message
from ..protocol.documents import Document, Page
from .show.markdown import to_html
from .show.style import frame
from .variables.masking import mask

CITE = "In an answer about it, name the page of each fact as [page 3]; say so if it is not in there."
REMIND = "Name the page of each fact as [page 3]."
_CITED = re.compile(r"\bpages?\s+(\d{1,4})", re.IGNORECASE)
# a page is an answer's source if it holds so much of the answer's words, the rarer ones counting more
ENOUGH, FEWEST = 0.5, 3
# of a token, on the low side, so that what fits by them fits
CHARACTERS = 3
# what acts in Markdown that JupyterLab shows: tags, pictures, links, macros of mathematics, fences that draw
_ACTS = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|(?<=\])[(:\[]|(?<=\\)(?=[A-Za-z])|(?<=``)(?=`)|(?<=~~)(?=~)")
_GAP = "\u200b"  # no width
READ = "I have it before me, and will cite its pages."


@dataclass(frozen=True)
class Paper:
    """A document that was read: `str()` is its Markdown, and `{name}` in a question fills it in."""

    name: str
    document: Document

    def __str__(self) -> str:
        return self.document.markdown

    @property
    def markdown(self) -> str:
        return self.document.markdown

    @property
    def pages(self) -> tuple[Page, ...]:
        return self.document.pages

    @property
    def text(self) -> str:
        """What a prompt gets: where it comes from, how to cite it, and its Markdown."""
        return _told(self, self.pages)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # never text/markdown, which JupyterLab does not sanitize: the document is somebody else's
        return {"text/plain": self.markdown, "text/html": frame(to_html(self.markdown))}


def harmless(markdown: str) -> str:
    """A stranger's Markdown for a cell of the user's: its headings, lists and tables, and nothing in it that acts or loads."""
    return _ACTS.sub(lambda sign: f"&#{ord(sign[0])};" if sign[0] else _GAP, markdown)


def to_messages(papers: Sequence[Paper], question: str, room: int) -> tuple[Message, ...]:
    """A turn that holds the papers, up to about `room` characters in all; nothing where there are none."""
    if not papers:
        return ()
    share = room // len(papers)
    text = "\n\n".join(mask(_told(paper, choose(paper.pages, question, share))) for paper in papers)
    return (Message("user", (text,)), Message("assistant", (READ,)))


def choose(pages: Sequence[Page], question: str, room: int) -> list[Page]:
    """All pages if they fit; else those that share most of the question's rarer words, in the order of the document."""
    if sum(len(page.markdown) for page in pages) <= room:
        return list(pages)
    counts = [Counter(_terms(page.markdown)) for page in pages]
    asked = set(_terms(question))
    rare = {term: math.log(1 + len(pages) / (1 + sum(term in count for count in counts))) for term in asked}

    def score(at: int) -> float:
        length = 1 + math.log1p(sum(counts[at].values()))
        return sum(rare[term] * math.sqrt(counts[at][term]) for term in asked) / length

    # the first page says what the document is; among equals the earlier comes first
    order = [0, *sorted(range(1, len(pages)), key=lambda at: (-score(at), at))]
    kept: list[int] = []
    for at in order:
        if len(pages[at].markdown) <= room:
            kept.append(at)
            room -= len(pages[at].markdown)
    if kept:
        return [pages[at] for at in sorted(kept)]
    best = pages[max(order, key=score)]
    return [Page(best.number, f"{best.markdown[:room]} […]", best.how)]


def sources(papers: Sequence[Paper], answer: str) -> str:
    """What the reader is told of where an answer stands: pages that it does not name itself, or names but were not read."""
    read = {page.number for paper in papers for page in paper.pages}
    cited = {int(number) for number in _CITED.findall(answer)}
    if not papers or (cited and cited <= read):
        return ""
    if cited:
        wrong = ", ".join(map(str, sorted(cited - read)))
        return f"The answer names page {wrong}, which was not read: do not rely on that."
    held = [(paper.name, page.number, set(_terms(page.markdown))) for paper in papers for page in paper.pages]
    words = {term for term in _terms(answer) if any(term in terms for _, _, terms in held)}
    weight = {term: math.log(1 + len(held) / sum(term in terms for _, _, terms in held)) for term in words}
    shares = {
        (name, n): sum(weight[t] for t in words & terms) for name, n, terms in held if len(words & terms) >= FEWEST
    }
    best = max(shares.values(), default=0.0)
    if best < ENOUGH * sum(weight.values()) or best <= 0:
        return ""
    found = [f"[page {n}] of {name}" for (name, n), share in shares.items() if share > 0.9 * best][:3]
    return f"The answer names no page; its words stand on {', '.join(found)}."


def _told(paper: Paper, pages: Sequence[Page]) -> str:
    document = paper.document
    of = f"{len(pages)} of its {document.page_count} pages" if len(pages) != document.page_count else "all its pages"
    part = Document(document.title, document.page_count, tuple(pages))
    return f"The document {paper.name}, {of}. {CITE}\n\n{part.markdown}"


def _terms(text: str) -> list[str]:
    from ..context.search.words import terms  # reads its word lists at the first call

    return list(terms(text))
