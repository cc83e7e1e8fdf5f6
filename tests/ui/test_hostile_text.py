"""Model text is untrusted: whatever it contains, no request leaves the page, nothing runs and no link opens by itself.

The sink is a second loopback server; a marker in each vector tells which one got through. The last test is the control: the
same vectors do reach the sink when nothing guards.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect

from .scripts import Script
from .tabs import PageErrors
from .user import Ui

MARKDOWN = [
    "![a]({sink}/md-image.png)",
    "![a][ref]\n\n[ref]: {sink}/md-reference.png",
    "[![a]({sink}/md-linked.png)]({sink}/md-link)",
    "![a]({SINK}/md-upper.png)",
    "![a](//{bare}/md-relative.png)",
    "<img src='{sink}/html-image.png'>",
    "<img src=x onerror=\"fetch('{sink}/onerror'); window.pwned=1\">",
    "<img srcset='{sink}/srcset.png 1x' src='data:image/png;base64,AAAA'>",
    "<picture><source srcset='{sink}/picture.png'><img alt=a></picture>",
    "<svg><image href='{sink}/svg-image.png'/></svg>",
    '<svg onload="window.pwned=1"></svg>',
    "<video poster='{sink}/poster.png' src='{sink}/video.mp4' autoplay></video>",
    "<audio src='{sink}/audio.mp3' autoplay></audio>",
    "<iframe src='{sink}/iframe'></iframe>",
    "<iframe srcdoc=\"<img src='{sink}/srcdoc.png'>\"></iframe>",
    "<object data='{sink}/object'></object><embed src='{sink}/embed'>",
    "<link rel=stylesheet href='{sink}/link.css'>",
    "<style>@import '{sink}/import.css'; body {{ background: url({sink}/style.png) }}</style>",
    '<p style="background: url({sink}/attribute.png)">x</p>',
    "<table background='{sink}/background.png'><tr><td>x</td></tr></table>",
    "<script>window.pwned=1; fetch('{sink}/script')</script>",
    '<body onload="window.pwned=1"><details open ontoggle="window.pwned=1"><summary>s</summary></details>',
    "<meta http-equiv=refresh content='0;url={sink}/meta'>",
    "<form action='{sink}/form'><input name=token autofocus onfocus=\"window.pwned=1\"></form>",
    '<math><mtext><table><mglyph><style><img src=x onerror="window.pwned=1"></style></mglyph></table></mtext></math>',
    "<button data-commandlinker-command='notebook:insert-cell-below'>run</button>",
    "$\\href{{javascript:window.pwned=1}}{{x}}$ and $\\require{{html}}\\class{{jp-Dialog}}{{x}}$",
    "$$\\unicode{{x}}\\style{{background:url({sink}/tex.png)}}{{x}}$$",
    '$\\undefined{{<img src=x onerror="window.pwned=1">}}$',
    "```mermaid\ngraph TD\nA[\"<img src='{sink}/mermaid.png' onerror='window.pwned=1'>\"] --> B\nclick A \"{sink}/click\"\n```",
    "{sink}/bare-address",
]


# what an allow-list must not let through either: names that shadow the page's own, parsers at odds, disguised schemes
TRICKS = [
    "<a href='{sink}/ping' ping='{sink}/ping'>x</a>",
    "<base href='{sink}/base/'><img src='base.png'>",
    "<form id=jupyterapp name=commands><input name=execute></form><img id=jupyter-config-data name=body>",
    "<a id=cookie name=getElementById href='{sink}/anchor'>x</a>",
    "<input type=image src='{sink}/input.png'>",
    "[a](JaVaScRiPt:window.pwned=1) [b](java&#9;script:window.pwned=1) [c](data:text/html,<script>window.pwned=1</script>)",
    "<a href='&#106;avascript:window.pwned=1'>x</a> <a href='vbscript:x'>y</a>",
    "<p style='background-image:\\75rl({sink}/escaped.png)'>x</p>",
    "<svg><use href='{sink}/use.svg#a'/></svg><svg><style>@import '{sink}/svg.css'</style></svg>",
    '<noscript><p title="</noscript><img src=x onerror=window.pwned=1>"></p></noscript>',
    '<template><img src=x onerror="window.pwned=1"></template>',
    "<xmp><img src=x onerror=window.pwned=1></xmp><plaintext hidden>",
    "<marquee onstart='window.pwned=1'>x</marquee><video><source onerror='window.pwned=1'></video>",
    "<dialog open style='position:fixed;inset:0;z-index:9999'>cover</dialog>",
    "<div style='position:fixed;inset:0;z-index:9999' class='jp-Dialog jp-mod-selected'>cover</div>",
    "<math href='javascript:window.pwned=1'><maction actiontype=statusline xlink:href='javascript:window.pwned=1'>x</maction></math>",
    "<img src='data:image/svg+xml,<svg xmlns=%22http://www.w3.org/2000/svg%22 onload=%22window.pwned=1%22/>'>",
    "<p contenteditable autofocus onfocus='window.pwned=1' tabindex=1 accesskey=x>x</p>",
    "<![CDATA[<img src=x onerror=window.pwned=1>]]> <!-- --!><img src=x onerror=window.pwned=1> -->",
    "`code` \u202egnp.exe\u202c and a\u200bb",
]


# twice, since what a picture's failure or an idle moment brings about may load something again
LAST = """async url => {
  for (const n of [1, 2]) {
    const last = new Image();
    await new Promise(resolve => requestIdleCallback(resolve));
    await new Promise(resolve => { last.onload = last.onerror = resolve; last.src = `${url}?${n}`; });
  }
}"""


class Sink(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.hits: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.server.hits.append(self.path)  # type: ignore[attr-defined]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def bare(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def vectors(self) -> str:
        names = {"sink": f"http://{self.bare}", "SINK": f"HTTP://{self.bare}", "bare": self.bare}
        return "\n\n".join(vector.format(**names) for vector in MARKDOWN)

    def wait(self, page: Page, least: int) -> None:
        """Wait until this many different addresses were requested."""
        while len(set(self.hits)) < least:
            page.wait_for_timeout(100)

    def settled(self, page: Page) -> list[str]:
        """The requests until the page was idle and our own last image had loaded."""
        page.evaluate(LAST, f"http://{self.bare}/settled.png")
        assert {"/settled.png?1", "/settled.png?2"} <= set(self.hits)
        return [path for path in self.hits if not path.startswith("/settled.png")]

    def tricks(self) -> str:
        return "\n\n".join(vector.format(sink=f"http://{self.bare}") for vector in TRICKS)


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pieces(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


@pytest.mark.threat("T3", "T4")
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["letter by letter", "split across chunks", "in one piece"])
def test_answer_in_the_panel(ui: Ui, page: Page, sink: Sink, scripted: Script, size: int) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    scripted(pieces(f"{sink.vectors()}\n\n{sink.tricks()}\n\nThe end.", size))
    ui.ask("?")
    ui.wait_answer()
    page.locator(".jp-MistralMarkdown").get_by_text("The end.").wait_for()
    assert sink.settled(page) == []
    assert page.evaluate("() => window.pwned") is None
    answer = page.locator(".jp-MistralMarkdown")
    for selector in ("script", "iframe", "object", "embed", "form", "style", "link", "[onerror]", "[href^=javascript]"):
        assert answer.locator(selector).count() == 0, selector
    assert answer.locator("img").count() <= 1  # the one of a data: URL
    assert answer.locator("[data-commandlinker-command]").count() == 0
    assert answer.locator(".jp-Dialog").count() == 0
    # nothing in the page is shadowed or covered
    own = ":not(mjx-container, mjx-container *, .jp-MistralCodeHost *)"
    shadows = answer.locator(f"[id]{own}, [name]{own}, [style]{own}, [contenteditable], [accesskey]")
    shadowing = shadows.evaluate_all("nodes => nodes.map(node => node.outerHTML)")
    assert not shadowing, shadowing
    assert page.evaluate("() => typeof window.jupyterapp.commands.execute") == "function"
    field = page.get_by_label("Your question")
    field.click()
    expect(field).to_be_focused()


def test_a_stream_is_rendered_like_the_whole_text(ui: Ui, page: Page, sink: Sink, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    text = (
        "# Title\n\n- one\n- two\n\n  still two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n$$\nx^2\n\ny\n$$\n\n"
        f"```python\nif x:\n\n    y\n```\n\n> quoted\n\n{sink.tricks()}\n\nThe end."
    )
    drawn: list[list[str]] = []
    for size in (1, 2, 5, 11, 100_000):
        scripted(pieces(text, size))
        ui.ask("?")
        ui.wait_answer(nth=len(drawn))
        last = page.locator(".jp-MistralAnswer").nth(len(drawn))
        last.get_by_text("The end.").wait_for()
        last.locator(".jp-MistralCodeBar").first.wait_for()
        drawn.append(last.locator(".jp-MistralMarkdown").all_inner_texts())
    assert all(one == drawn[0] for one in drawn)


@pytest.mark.own_page
def test_names_of_chats_files_and_models_are_plain_text(ui: Ui, page: Page, sink: Sink, scripted: Script) -> None:
    evil = f"<img src='http://{sink.bare}/name.png' onerror='window.pwned=1'>"
    (ui.lab.root / "<img src=x onerror=window.pwned=1>.txt").write_text("text")
    ui.open(["x = 1"])
    ui.show_panel()
    scripted([f"<think>{evil}</think>Fine."])
    page.get_by_label("Your question").press_sequentially("@<img")
    page.get_by_label("Suggestions").get_by_role("option").first.wait_for()
    page.keyboard.press("Tab")
    expect(page.locator(".jp-MistralChip[data-kind=file]")).to_contain_text("<img src=x")
    ui.ask(evil)
    ui.wait_answer()
    page.locator(".jp-MistralThinking summary").click()
    expect(page.locator(".jp-MistralThinking")).to_contain_text("<img src=")
    page.get_by_role("button", name="All chats").click()
    page.get_by_label("Search chats").fill(evil)
    assert sink.settled(page) == []
    assert page.evaluate("() => window.pwned") is None
    assert page.locator(".jp-Mistral img").count() == 0


def test_question_and_attachments_are_plain_text(ui: Ui, page: Page, sink: Sink, endless: None) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    ui.ask(f"<img src='http://{sink.bare}/q.png' onerror='window.pwned=1'> ![a](http://{sink.bare}/q2.png)")
    expect(page.locator(".jp-MistralQuestion-text")).to_contain_text("<img src=")
    page.get_by_role("button", name="Stop", exact=True).click()
    assert sink.settled(page) == []
    assert page.evaluate("() => window.pwned") is None


@pytest.mark.threat("T4")
def test_failures_are_plain_text(ui: Ui, page: Page) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    evil = {"code": "internal", "message": "<img src=x onerror='window.pwned=1'>", "todo": "<b>bold</b>"}
    page.route(
        "**/mistral/api/chats?*",
        lambda route: route.fulfill(status=500, content_type="application/json", body=json.dumps({"error": evil})),
    )
    ui.ask("?")
    note = page.locator(".jp-MistralFailure")
    expect(note).to_contain_text("<img src=x")
    assert note.locator("img, b").count() == 0
    assert page.evaluate("() => window.pwned") is None


@pytest.mark.threat("T4")
def test_a_link_opens_only_after_a_dialog(ui: Ui, page: Page, sink: Sink, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    scripted([f"[docs](http://{sink.bare}/asked) and [bad](javascript:window.pwned=1)"])
    ui.ask("?")
    ui.wait_answer()
    assert page.locator(".jp-MistralMarkdown a", has_text="bad").get_attribute("data-href") is None
    page.locator("[data-href]").click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text(f"http://{sink.bare}/asked")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Cancel").click()
    assert sink.hits == []
    page.locator("[data-href]").click()
    with page.context.expect_page() as opened:
        dialog.get_by_role("button", name="Open").click()
    opened.value.wait_for_url(f"http://{sink.bare}/asked")
    assert opened.value.evaluate("() => window.opener") is None
    opened.value.close()
    assert page.evaluate("() => window.pwned") is None


@pytest.mark.threat("T3")
def test_magic_output_in_a_trusted_notebook(ui: Ui, page: Page, sink: Sink) -> None:
    ui.open(
        [
            "from IPython.display import display\nfrom jupyter_mistral.kernel.show.markdown import to_html\n"
            f"display({{'text/html': to_html({sink.vectors() + sink.tricks()!r} + '\\n\\nThe end.'), 'text/plain': ''}}, raw=True)"
        ],
        runs=True,
    )
    ui.run_all()
    page.locator(".jp-OutputArea-output").get_by_text("The end.").wait_for()
    assert sink.settled(page) == []
    assert page.evaluate("() => window.pwned") is None
    assert page.locator(".jp-OutputArea-output script").count() == 0


@pytest.mark.own_page
def test_the_vectors_work_without_the_sanitizer(ui: Ui, page: Page, sink: Sink, page_errors: PageErrors) -> None:
    # recorded as it happens, because one of the vectors navigates away
    page.add_init_script("Object.defineProperty(window, 'pwned', { set: () => console.log('pwned') })")
    ui.open([f"from IPython.display import Markdown\nMarkdown({sink.vectors()!r})"], runs=True)
    with page.expect_console_message(lambda message: message.text == "pwned"):
        ui.run_all()
    # Chromium can hang when a page is closed during a navigation
    page.wait_for_url(f"http://{sink.bare}/meta")
    assert len(set(sink.hits)) >= 3
    page_errors.are_expected = True  # the vectors' own


def test_right_to_left(ui: Ui, page: Page, scripted: Script) -> None:
    ui.open(["x = 1"])
    ui.show_panel()
    scripted(["مرحبا! الدالة `plot()` ترسم الأعمدة.\n\n```python\nplot()\n```\n\nIn English."])
    field = page.get_by_label("Your question")
    field.fill("اشرح")
    expect(field).to_have_css("direction", "rtl")
    page.keyboard.press("Enter")
    ui.wait_answer()

    def has_direction(direction: str, selector: str, nth: int = 0) -> None:
        expect(page.locator(f".jp-MistralMarkdown {selector}").nth(nth)).to_have_css("direction", direction)

    page.locator(".jp-MistralCodeBar").wait_for()
    has_direction("rtl", "p")
    has_direction("ltr", "p code")
    has_direction("ltr", "pre")
    has_direction("ltr", "p", 1)
