"""Documents that were read, and the part to send with a question: everything, or the pages that the question is about."""

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
CITE_REMINDER = "Name the page of each fact as [page 3]."
_CITED = re.compile(r"\bpages?\s+(\d{1,4})", re.IGNORECASE)
# a page is a source of an answer if it contains this share of the answer's words (weighted by rarity), and this many of them
MIN_SHARE, MIN_WORDS = 0.5, 3
# a low estimate, so that text that fits by this count also fits by the real one
CHARACTERS_PER_TOKEN = 3
# active Markdown: tags, images, links, TeX macros, and fences that JupyterLab draws as diagrams
_ACTIVE = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|(?<=\])[(:\[]|(?<=\\)(?=[A-Za-z])|(?<=``)(?=`)|(?<=~~)(?=~)")
_ZERO_WIDTH_SPACE = "\u200b"
ACKNOWLEDGEMENT = "I have it before me, and will cite its pages."


@dataclass(frozen=True)
class ReadDocument:
    """A document that was read. `str()` is its Markdown; `{name}` in a question inserts it."""

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
        """The document as text for a prompt: its name, how to cite it, and its Markdown."""
        return _to_prompt(self, self.pages)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # never text/markdown, which JupyterLab does not sanitize: the document is untrusted
        return {"text/plain": self.markdown, "text/html": frame(to_html(self.markdown))}


def neutralize(markdown: str) -> str:
    """Make untrusted Markdown safe for a user's cell: headings, lists and tables stay, nothing acts or loads."""
    return _ACTIVE.sub(lambda match: f"&#{ord(match[0])};" if match[0] else _ZERO_WIDTH_SPACE, markdown)


def to_messages(documents: Sequence[ReadDocument], question: str, budget: int) -> tuple[Message, ...]:
    """A user turn with the documents, about `budget` characters in all, and a reply to it; empty without documents."""
    if not documents:
        return ()
    share = budget // len(documents)
    parts = [mask(_to_prompt(document, choose_pages(document.pages, question, share))) for document in documents]
    return (Message("user", ("\n\n".join(parts),)), Message("assistant", (ACKNOWLEDGEMENT,)))


def choose_pages(pages: Sequence[Page], question: str, budget: int) -> list[Page]:
    """All pages if they fit into `budget` characters; else those that share the most of the question's rare words."""
    if sum(len(page.markdown) for page in pages) <= budget:
        return list(pages)
    counts = [Counter(_terms(page.markdown)) for page in pages]
    question_terms = set(_terms(question))
    rarity = {term: math.log(1 + len(pages) / (1 + sum(term in c for c in counts))) for term in question_terms}

    def score(at: int) -> float:
        length = 1 + math.log1p(sum(counts[at].values()))
        return sum(rarity[term] * math.sqrt(counts[at][term]) for term in question_terms) / length

    # the first page says what the document is; among equal scores the earlier page comes first
    ranking = [0, *sorted(range(1, len(pages)), key=lambda at: (-score(at), at))]
    chosen: list[int] = []
    for at in ranking:
        if len(pages[at].markdown) <= budget:
            chosen.append(at)
            budget -= len(pages[at].markdown)
    if chosen:
        return [pages[at] for at in sorted(chosen)]
    best = pages[max(ranking, key=score)]
    return [Page(best.number, f"{best.markdown[:budget]} […]", best.how)]


def check_citations(documents: Sequence[ReadDocument], answer: str) -> str:
    """A note on the pages of an answer that cites none, or cites pages that were not read; "" if there is nothing to say."""
    pages_read = {page.number for document in documents for page in document.pages}
    cited = {int(number) for number in _CITED.findall(answer)}
    if not documents or (cited and cited <= pages_read):
        return ""
    if cited:
        unread = sorted(cited - pages_read)
        pages = f"page{'s' if len(unread) > 1 else ''} {', '.join(map(str, unread))}"
        return f"The answer cites {pages}, which {'were' if len(unread) > 1 else 'was'} not read. Do not rely on it."
    pages_with_same_words = _find_sources(documents, answer)
    if not pages_with_same_words:
        return ""
    return f"The answer cites no page. Its wording matches {', '.join(pages_with_same_words)}."


def _find_sources(documents: Sequence[ReadDocument], answer: str) -> list[str]:
    """The pages, three at most, that contain most of the answer's words, the rarer ones counting more."""
    pages = [
        (document.name, page.number, set(_terms(page.markdown))) for document in documents for page in document.pages
    ]
    words = {term for term in _terms(answer) if any(term in terms for _, _, terms in pages)}
    rarity = {term: math.log(1 + len(pages) / sum(term in terms for _, _, terms in pages)) for term in words}
    scores = {
        (name, number): sum(rarity[term] for term in words & terms)
        for name, number, terms in pages
        if len(words & terms) >= MIN_WORDS
    }
    best = max(scores.values(), default=0.0)
    if best < MIN_SHARE * sum(rarity.values()) or best <= 0:
        return []
    return [f"[page {number}] of {name}" for (name, number), score in scores.items() if score > 0.9 * best][:3]


def _to_prompt(read: ReadDocument, pages: Sequence[Page]) -> str:
    document = read.document
    is_complete = len(pages) == document.page_count
    extent = "all its pages" if is_complete else f"{len(pages)} of its {document.page_count} pages"
    part = Document(document.title, document.page_count, tuple(pages))
    return f"The document {read.name}, {extent}. {CITE}\n\n{part.markdown}"


def _terms(text: str) -> list[str]:
    from ..context.search.words import terms  # loads its word lists on the first call

    return list(terms(text))
