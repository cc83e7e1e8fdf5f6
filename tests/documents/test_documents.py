"""PDFs become Markdown page by page or are refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable

import hostile_pdfs as pdfs
import pytest
from hostile_images import noise, saved
from jupyter_mistral.protocol.documents import Document, PageRead
from jupyter_mistral.protocol.failures import Failure

Read = Callable[..., tuple[list[PageRead], Document | Failure]]


def document(result: tuple[list[PageRead], Document | Failure]) -> Document:
    assert isinstance(result[1], Document), result[1]
    return result[1]


def refusal(result: tuple[list[PageRead], Document | Failure]) -> str:
    assert isinstance(result[1], Failure)
    return result[1].message


def test_a_report_has_its_headings_paragraphs_tables_list_and_figure(read: Read) -> None:
    progress, result = read(pdfs.report(saved(noise(), "PNG")))
    made = document((progress, result))
    assert (made.title, made.page_count, [page.number for page in made.pages]) == ("The fox", 2, [1, 2])
    assert [(step.done, step.total, step.how) for step in progress] == [(1, 2, "text"), (2, 2, "text")]
    first, second = (page.markdown.split("\n\n") for page in made.pages)
    paragraph = (pdfs.SENTENCE * 4).strip()
    table = "\n".join(
        ["| Year | Revenue (EUR) | Growth |", "| --- | --- | --- |"]
        + [f"| {' | '.join(row)} |" for row in pdfs.ROWS[1:]]
    )
    assert first == [
        "# Annual report of the fox",
        "## Introduction",
        paragraph,
        paragraph,
        "### Figures",
        table,
        paragraph,
    ]
    figure = re.compile(r"\*\[figure, 200 x 120 points\]\*")
    assert second[:6] == ["## Method", paragraph, table, paragraph, "- catch the fox", "- measure it"]
    assert figure.fullmatch(second[6]) and second[7:] == ["Figure 1: the speed"]


def test_anchors_stand_before_their_pages(read: Read) -> None:
    made = document(read(pdfs.pages(30), [(2, 3), (17, 17)]))
    assert re.findall(r"^\[page (\d+)\]$", made.markdown, re.MULTILINE) == ["2", "3", "17"]
    assert made.page_count == 30 and "Page 17, with a line" in made.pages[2].markdown


def test_a_footer_repeated_on_every_page_is_left_out(read: Read) -> None:
    assert "Confidential" not in document(read(pdfs.pages(5))).markdown
    assert "Confidential" in document(read(pdfs.pages(2))).markdown, "two pages are too few"


def test_columns_are_read_one_after_the_other(read: Read) -> None:
    data, text = pdfs.two_columns()
    assert " ".join(document(read(data)).pages[0].markdown.split()) == text


@pytest.mark.threat("T20")
def test_an_encrypted_document_is_refused(read: Read) -> None:
    assert refusal(read(pdfs.encrypted())) == "The document is encrypted."


@pytest.mark.threat("T20")
def test_too_many_pages_are_refused_unless_some_are_named(read: Read) -> None:
    data = pdfs.pages(2000)
    assert refusal(read(data)) == "The document has 2,000 pages; at most 200 can be read at once."
    assert refusal(read(data, [(1, 2000)])).startswith("The document has 2,000 pages;")
    assert [page.number for page in document(read(data, [(1999, 2000)])).pages] == [1999, 2000]
    assert refusal(read(data, [(2000, 2001)])) == "The document ends at page 2,000."


@pytest.mark.threat("T19", "T20")
@pytest.mark.parametrize(("name", "data"), list(pdfs.hostile()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_hostile_document_ends_in_pages_or_in_a_sentence(read: Read, name: str, data: bytes) -> None:
    _, result = read(data)
    if isinstance(result, Document):
        assert len(result.pages) <= 200 and len(result.markdown) < 10**7
    if name in ("empty", "only the mark", "noise after the mark", "a table that points at itself"):
        assert isinstance(result, Failure)


def test_an_image_is_refused_as_a_document(read: Read) -> None:
    assert refusal(read(saved(noise(), "PNG"))) == "The document is not a PDF."
