"""Exports: Markdown that contains the chat, a notebook with code in code cells, and no active content in either."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.server.chats.export import neutral, to_markdown, to_notebook
from markdown_it import MarkdownIt

ANSWER = "Use a list:\n\n```python\nx = [1]\nif x < y:\n    print('<b>')\n```\n\nor\n\n```bash\nls <dir>\n```\nDone: `a < b`, $a<b$."
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</div><script>alert(1)</script>",
    "<IFRAME srcdoc='x'>",
    "<!-- c --><style>*{}</style>",
    "<?php ?>",
    "`<img src=x onerror=alert(1)>",
    "``<img src=x>`",
    "\\<img src=x>",
    "&lt;img src=x&gt;",
    "&#60;img src=x>",
    '<https://example.com/"onmouseover=alert(1)>',
    "![p](https://example.com/leak?x=1)",
    "![p][ref]\n\n[ref]: https://example.com/leak",
    "`![p](https://example.com/leak)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](javascript\\:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[r]\n\n[r]: javascript:alert(1)",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox(1))",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\style{background:url(https://example.com)}{x}$",
    "$$\\unicode[myfont]{x}$$ \\require{html}",
    "<a data-commandlinker-command='x' href='#'>x</a>",
    "$[x](&#106;avascript:alert(1))$ `[x](&#106;avascript:alert(1))`",
    "$ <img src=x> $",
    "- <details open ontoggle=alert(1)>",
    "> <svg onload=alert(1)>",
    "    <b>not code in a list</b>",
    "```html\n<script>alert(1)</script>\n",
    "````\n```\n<script>alert(1)</script>\n````",
    "~~~\n<script>\n",
    "| a |\n|---|\n| <img src=x> |",
    "x\n```\n<img src=x>\n``` <img src=y>",
    "<img src=x>~~~\n<script>\n<img src=x>````\n```\n<script>alert(1)</script>\n````~~~\n<script>\n",
]
# a parser that lets everything through: what it makes is what the worst front end would show
LOOSE = MarkdownIt("commonmark", {"html": True}).enable("table")
LOOSE.validateLink = lambda url: True  # type: ignore[method-assign]


def message(role: str, *content: str | Image, state: str = "done", usage: Any = None) -> dict[str, Any]:
    made = {"role": role, "content": list(content), "state": state, "usage": usage, "created": 0.0}
    return {**made, "id": f"{role}-{abs(hash(content))}"}


def chat(*messages: dict[str, Any], title: str = "A chat") -> dict[str, Any]:
    return {"id": "c" * 32, "title": title, "messages": list(messages)}


def acts(markdown: str) -> list[str]:
    """Whatever of a text would be an element of its own making, load something, or run something."""
    active = []

    def walk(tokens: Any) -> None:
        for token in tokens:
            if token.type in ("html_block", "html_inline"):
                active.append(token.content)
            if token.type == "image" and not str(token.attrs["src"]).startswith(("data:image/", "attachment:")):
                active.append(str(token.attrs["src"]))
            if token.type == "link_open":
                url = re.sub(r"[\x00-\x20]|%09", "", str(token.attrs["href"])).lower()
                if re.match(r"[a-z+.-]*script:|data:", url):
                    active.append(url)
            if token.type == "text" and re.search(r"\\(href|style|unicode|require)\b", token.content):
                active.append(token.content)
            walk(token.children or ())

    walk(LOOSE.parse(markdown))
    return active


def markdown_cells(chat: dict[str, Any]) -> list[str]:
    return [c.source for c in nbformat.reads(to_notebook(chat), as_version=4).cells if c.cell_type == "markdown"]


def test_the_check_detects_active_text() -> None:
    assert sum(bool(acts(text)) for text in HOSTILE) > 20


@pytest.mark.threat("T4")
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_no_text_of_a_chat_becomes_active(text: str, role: str) -> None:
    for wrapped in (text, f"before\n\n{text}\n\nafter", f"- item\n\n  {text}", f"`code` {text} `code`"):
        made = chat(message(role, wrapped), title=wrapped)
        assert acts(to_markdown(made)) == []
        for source in markdown_cells(made):
            assert acts(source) == []


@pytest.mark.threat("T4")
@given(
    st.lists(st.sampled_from([*HOSTILE, "`", "``", "```", "\n", "\n\n", "    ", "\\", "text", "- ", "> "]), max_size=12)
)
def test_no_mixture_of_hostile_texts_becomes_active(parts: list[str]) -> None:
    made = chat(message("assistant", "".join(parts)))
    assert acts(to_markdown(made)) == []
    for source in markdown_cells(made):
        assert acts(source) == []


def test_markdown_reads_as_the_chat_did() -> None:
    text = to_markdown(chat(message("user", "Why?\n2 < 3"), message("assistant", ANSWER), title="On\nlists"))
    assert text.startswith("# On lists\n\n## Question\n\nWhy?\n2 < 3\n\n## Answer\n\nUse a list:")
    assert "```python\nx = [1]\nif x < y:\n    print('<b>')\n```" in text
    assert "Done: `a < b`, $a< b$." in text


def test_python_becomes_code_cells_that_were_not_run() -> None:
    usage = {"mistral": {"model": "m", "quantization": "nf4", "seed": 7}}
    notebook = nbformat.reads(
        to_notebook(chat(message("user", "```python\nmine\n```"), message("assistant", ANSWER, usage=usage))), 4
    )
    kinds = [(c.cell_type, c.source) for c in notebook.cells]
    assert kinds == [
        ("markdown", "# A chat"),
        ("markdown", "**Question**\n\n```python\nmine\n```"),
        ("markdown", "**Answer**\n\nUse a list:"),
        ("code", "x = [1]\nif x < y:\n    print('<b>')"),
        ("markdown", "or"),
        ("markdown", "```bash\nls <dir>\n```"),
        ("markdown", "Done: `a < b`, $a< b$."),
    ]
    code = notebook.cells[3]
    assert (code.execution_count, code.outputs) == (None, [])
    assert code.metadata["jupyter_mistral"].items() >= {"role": "assistant", "model": "m", "seed": 7}.items()
    assert notebook.metadata["jupyter_mistral"]["chat"] == "c" * 32
    assert "signature" not in notebook.metadata


def test_images_are_exported() -> None:
    picture = Image("image/png", b"\x89PNG")
    made = chat(message("user", "see", picture))
    assert f"![image]({picture.to_url()})" in to_markdown(made)
    cell = nbformat.reads(to_notebook(made), 4).cells[-1]
    assert (cell.source, cell.attachments) == ("![image](attachment:picture)", {"picture": {"image/png": "iVBORw=="}})


def test_an_unfinished_answer_is_marked() -> None:
    made = chat(
        message("user", "q"), message("assistant", "par", state="interrupted"), message("assistant", state="failed")
    )
    for text in (to_markdown(made), "\n\n".join(markdown_cells(made))):
        assert "par\n\n*The answer was interrupted here.*" in text
        assert "*The answer failed.*" in text


@given(st.text(max_size=300))
def test_any_text_can_be_exported(text: str) -> None:
    made = chat(message("user", text), message("assistant", text), title=text)
    nbformat.validate(nbformat.reads(to_notebook(made), as_version=4))
    assert to_markdown(made)


def test_plain_text_is_unchanged() -> None:
    text = "Größe: 3 < 4 & 5 > 2; a -> b; `List[int]`, **bold**, [link](https://example.com) $x^2$ مرحبا"
    assert neutral(text) == text
