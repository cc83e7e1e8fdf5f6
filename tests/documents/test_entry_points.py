"""All ways files enter: images in requests, documents sent to the server, `%mistral read` and `--see` in a kernel."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import hostile_images as hostile
import hostile_pdfs as pdfs
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_mistral.kernel.documents import ReadDocument, check_citations, choose_pages, neutralize, to_messages
from jupyter_mistral.kernel.figures.references import find_figures
from jupyter_mistral.kernel.host.connection import Connection, find_connection
from jupyter_mistral.kernel.line.read_arguments import split_read_words
from jupyter_mistral.protocol import CONNECTION_ENV, HOME_ENV
from jupyter_mistral.protocol.documents import Document, Page
from markdown_it import MarkdownIt
from wording import LEAK

SMALL = "smollm2-135m"


@pytest.fixture(scope="module")
def host(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The connection file of a model host in its own process."""
    folder = tmp_path_factory.mktemp("host")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    env = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyter_mistral.server.standalone"], env=env, stderr=log)
    file = folder / f"mistral-{process.pid}.json"
    try:
        while not file.exists():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield file
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, (folder / "log").read_text()


@pytest.fixture
def connection(host: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv(CONNECTION_ENV, str(host))
    connection = find_connection()
    assert connection is not None
    return connection


def ask(connection: Connection, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
    link: HTTPConnection = connection.open(300)
    try:
        link.request("POST", path, body, {"Authorization": f"Bearer {connection.token}", "Content-Type": kind})
        response = link.getresponse()
        return response.status, response.read()
    finally:
        link.close()


def about(*urls: str) -> bytes:
    content = [{"type": "text", "text": "what?"}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return json.dumps({"messages": [{"role": "user", "content": content}], "model": SMALL}).encode()


def url_of(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@pytest.mark.threat("T18", "T19")
@pytest.mark.parametrize("path", ["/mistral/v1/chat/completions", "/mistral/api/context"])
def test_a_bad_image_is_refused_before_the_model_is_loaded(connection: Connection, path: str) -> None:
    cases = dict(hostile.refused())
    good = url_of(hostile.saved(hostile.noise(), "PNG"))
    for name in ("a bomb", "truncated JPEG", "random", "SVG of a billion laughs", "photoshop"):
        status, body = ask(connection, path, about(good, url_of(cases[name])))
        error = json.loads(body)["error"]
        assert status in (400, 413) and error["message"].startswith("Image 2 "), error
        assert not LEAK.search(error["message"])
    status, body = ask(connection, "/mistral/api/status", b"")  # the address exists, but not for POST
    assert status == 405
    link = connection.open(60)
    link.request("GET", "/mistral/api/status", headers={"Authorization": f"Bearer {connection.token}"})
    assert json.loads(link.getresponse().read())["model"] is None


@pytest.mark.threat("T18")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.png",
        "https://example.com/a.png",
        "file:///etc/hostname",
        "ftp://127.0.0.1/a",
        "/etc/hostname",
    ],
)
def test_a_url_is_refused(connection: Connection, url: str) -> None:
    status, body = ask(connection, "/mistral/v1/chat/completions", about(url))
    assert status == 400 and "never fetched" in json.loads(body)["error"]["message"]


def test_the_declared_type_of_an_image_is_ignored(connection: Connection) -> None:
    good = hostile.accepted()
    for data, said in ((good["SVG with a script"], "image/png"), (good["CMYK"], "image/svg+xml")):
        body = json.loads(about(url_of(data, said))) | {"model": "no-such-model"}
        _, answer = ask(connection, "/mistral/v1/chat/completions", json.dumps(body).encode())
        assert json.loads(answer)["error"]["code"] == "unknown_model", "so the picture was good"


def chunks(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: {")]


def test_a_document_is_answered_page_by_page(connection: Connection) -> None:
    status, body = ask(connection, "/mistral/api/read?pages=2-3,5&ocr=off", pdfs.pages(6), "application/pdf")
    assert status == 200 and body.endswith(b"data: [DONE]\n\n")
    *progress, last = (chunk["mistral"] for chunk in chunks(body))
    assert progress == [{"event": "page_read", "done": n, "total": 3, "how": "text"} for n in (1, 2, 3)]
    assert last["event"] == "document"
    document = Document.of_dict(last["document"])
    assert [page.number for page in document.pages] == [2, 3, 5] and last["document"]["markdown"] == document.markdown


@pytest.mark.threat("T19", "T20")
@pytest.mark.parametrize(
    ("query", "data", "kind", "status"),
    [
        ("", b"not a PDF", "application/pdf", 400),
        ("?pages=9", pdfs.pages(2), "application/pdf", 400),
        ("?pages=2-1", pdfs.pages(2), "application/pdf", 400),
        ("?pages=1-", pdfs.pages(2), "application/pdf", 400),
        ("?ocr=maybe", pdfs.pages(2), "application/pdf", 400),
        ("", pdfs.encrypted(), "application/octet-stream", 400),
        ("", pdfs.pages(2), "application/json", 415),
        ("", pdfs.pages(2), "text/plain", 415),
    ],
)
def test_an_unreadable_document_has_its_status_and_a_sentence(
    connection: Connection, query: str, data: bytes, kind: str, status: int
) -> None:
    got, body = ask(connection, f"/mistral/api/read{query}", data, kind)
    error = json.loads(body)["error"]
    assert got == status and error["todo"]
    # the addresses of our own API aside
    assert not LEAK.search(error["message"].replace("/mistral/api/read", "").replace("application/pdf", ""))


class Shell:
    """A terminal IPython that finds the host."""

    def __init__(self) -> None:
        self.ip = InteractiveShell()
        self.ip.run_line_magic("load_ext", "jupyter_mistral")

    def run(self, cell: str) -> str:
        """What a cell prints. Raises its error."""
        with capture_output() as out:
            result = self.ip.run_cell(cell, store_history=True)
        result.raise_error()
        return str(out.stdout + out.stderr)


@pytest.fixture
def shell(connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    assert connection.pid
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my report.pdf").write_bytes(pdfs.report())
    (tmp_path / "sales.csv").write_text("month,revenue")
    shell = Shell()
    yield shell
    shell.ip.history_manager.end_session()


def test_a_document_goes_into_a_variable(shell: Shell) -> None:
    printed = shell.run("%mistral read 'my report.pdf' --pages 2 --out report")
    assert "my report.pdf: 1 of 2 pages." in printed
    report = shell.ip.user_ns["report"]
    assert (
        isinstance(report, ReadDocument)
        and str(report).startswith("[page 2]\n\n# Method")
        and report.pages[0].number == 2
    )


def test_a_document_goes_into_a_cell(shell: Shell) -> None:
    inserted: list[str] = []
    shell.ip.set_next_input = lambda text, replace=False: inserted.append(text)
    shell.run("%mistral read 'my report.pdf' --cell")
    assert inserted and inserted[0].startswith("%%markdown\n[page 1]\n\n# Annual report of the fox")


HOSTILE = (
    "# Title\n\n| a | b |\n|---|---|\n| 1 < 2 | 3 |\n\n<img src=x onerror=alert(1)> ![p](https://example.com/p.png) [l](javascript:alert(1)) "
    "$\\href{javascript:alert(1)}{x}$ [r][q] <https://example.com>\n\n[q]: https://example.com\n\n```mermaid\ngraph\n```\n"
)


def test_a_document_is_shown_without_active_content() -> None:
    ip = InteractiveShell()
    shown = ip.display_formatter.format(ReadDocument("a.pdf", Document("", 1, (Page(1, HOSTILE),))))[0]
    ip.history_manager.end_session()
    assert set(shown) == {"text/plain", "text/html"}
    assert "<h1" in shown["text/html"] and "<table" in shown["text/html"]
    assert not re.search(r"(?i)<(?:img|a|script)\b[^>]*(?:javascript|onerror|\.png)", shown["text/html"])


def test_a_document_in_a_cell_keeps_its_structure_but_no_active_content() -> None:
    loose = MarkdownIt("commonmark", {"html": True}).enable("table")
    loose.validateLink = lambda url: True  # type: ignore[method-assign]
    html = loose.render(neutralize(HOSTILE))
    assert "<h1>" in html and "<table>" in html and "1 &lt; 2" in html
    assert not re.search(r"<(?:img|a|pre|script)\b", html)
    assert "\\href" not in html
    assert neutralize("A plain page, 3 < 4 [page 1] (see there).") == "A plain page, 3 < 4 [page 1] (see there)."


def test_later_questions_include_the_document_until_reset(shell: Shell, ticking: Path) -> None:
    shell.run(f"%config MistralMagics.model = '{ticking}'")
    shell.run("%mistral --max-tokens 4 What was measured?")
    without_document = shell.ip.user_ns["_mistral"].usage.prompt_tokens
    assert "It is sent with all later questions" in shell.run("%mistral read 'my report.pdf'")
    shell.run("%mistral --max-tokens 4 What was measured?")
    with_document = shell.ip.user_ns["_mistral"].usage.prompt_tokens
    shell.run("%mistral --no-history --max-tokens 4 What was measured?")
    assert with_document > without_document + 300 > shell.ip.user_ns["_mistral"].usage.prompt_tokens
    assert "1 document" in shell.run("%mistral reset")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nowhere.pdf", "The file nowhere.pdf does not exist."),
        ("https://example.com/a.pdf", "downloads nothing"),
        ("./sales.csv", "sales.csv is not a PDF. For an image, use `%mistral --see sales.csv`"),
        ("'my report.pdf' --pages 7", "The document ends at page 2."),
        ("'my report.pdf' --ocr perhaps", "must be one of auto, on, off"),
        ("'my report.pdf' --page 2", "has no flag --page"),
        ("'my report.pdf' --out 2x", "is not a valid variable name"),
    ],
)
def test_an_unreadable_file_raises_with_a_sentence(shell: Shell, line: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        shell.run(f"%mistral read {line}")


@pytest.mark.parametrize(
    "line", ["read the file and plot it", "read this?", "read sales.csv and plot it", "read o'clock.txt", "read data"]
)
def test_a_question_that_starts_with_read_stays_a_question(line: str) -> None:
    assert split_read_words(line) is None


def pages_about(*subjects: str) -> list[Page]:
    return [Page(n, f"{subject} " * 40) for n, subject in enumerate(subjects, 1)]


def test_the_relevant_pages_of_a_long_document_are_sent() -> None:
    pages = pages_about("contents", "glaciers", "volcanoes", "rivers", "volcanoes", "deserts")
    numbers = [page.number for page in choose_pages(pages, "Which volcanoes are active?", 1200)]
    assert numbers == [1, 3, 5]
    assert choose_pages(pages, "Which volcanoes are active?", 10**6) == pages
    assert [page.number for page in choose_pages(pages, "Which volcanoes are active?", 100)] == [3]


def test_the_prompt_has_anchors_and_asks_for_citations() -> None:
    document = ReadDocument("a.pdf", Document("", 6, tuple(pages_about("glaciers", "rivers"))))
    message, _ = to_messages([document], "glaciers?", 10**5)
    assert (
        "[page 1]" in message.text
        and "[page 2]" in message.text
        and "as [page 3]" in message.text
        and "2 of its 6 pages" in message.text
    )
    assert to_messages([], "glaciers?", 10**5) == ()


def test_an_answer_without_a_page_gets_one_and_a_wrong_page_is_reported() -> None:
    pages = (
        Page(1, "Contents and thanks"),
        Page(2, "Glaciers moved 12 m a year"),
        Page(3, "Rivers carried gravel down the valley"),
    )
    documents = [ReadDocument("a.pdf", Document("", 3, pages))]
    assert check_citations(documents, "The glaciers moved 12 m each year.") == (
        "The answer cites no page. Its wording matches [page 2] of a.pdf."
    )
    assert check_citations(documents, "Gravel came with the rivers from the valley.").endswith("[page 3] of a.pdf.")
    assert (
        check_citations(documents, "They moved 12 m a year [page 2].")
        == ""
        == check_citations(documents, "I do not know.")
        == check_citations([], "[page 9]")
    )
    assert (
        check_citations(documents, "As told on page 7.")
        == "The answer cites page 7, which was not read. Do not rely on it."
    )


def test_an_svg_file_is_an_image(shell: Shell, tmp_path: Path) -> None:
    for name, start in (("a.svg", b""), ("b.txt", b'<?xml version="1.0"?>\n')):
        (tmp_path / name).write_bytes(start + hostile.accepted()["SVG with a script"])
        (figure,) = find_figures([str(tmp_path / name)], shell.ip)
        image = figure.render()
        assert image is not None and image.mime == "image/svg+xml"


def test_decoding_does_not_block_the_server(connection: Connection) -> None:
    """The server answers status requests while a document keeps a child busy for seconds."""

    async def run() -> int:
        busy = asyncio.create_task(
            asyncio.to_thread(ask, connection, "/mistral/api/read?ocr=off", pdfs.pages(190), "application/pdf")
        )
        answers = 0
        while not busy.done():
            await asyncio.to_thread(ask, connection, "/mistral/api/status", b"")
            answers += 1
        assert busy.result()[0] == 200
        return answers

    assert asyncio.run(run()) > 3
