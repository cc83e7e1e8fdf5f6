"""Converts the model's Markdown to HTML that is safe in a trusted notebook output. Knows nothing of displays.

JupyterLab sanitizes neither text/markdown nor text/html in the outputs of a running session, and the model's text may repeat a
hostile cell output. So there is no raw HTML, no images, only http, https and mailto links, and only harmless TeX macros.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from .highlight import CONTROL, highlight

MAX_TEX = 4000
Env = MutableMapping[str, Any]

# macros that create links, styles, ids, definitions that outlive the answer, or boxes of any size
_BAD_TEX = re.compile(
    r"""\\(?:href|url|require|unicode|class|style|css[A-Za-z]*|id|data|html[A-Za-z]*|include[A-Za-z]*|input|mmlToken|mathtip|texttip|tooltip
    |toggle|bbox|def|gdef|edef|xdef|let|futurelet|(?:re)?newcommand|providecommand|(?:re)?newenvironment|DeclareMathOperator|DeclarePairedDelimiters?X?[A-Za-z]*
    |newtagform|renewtagform|usetagform|mathtoolsset|setoptions|csname|catcode|expandafter|rule|Rule|Space|[hv]?kern|mkern|mskip|[hv]skip|[hv]space|mspace|raise|lower|move(?:left|right)|label)(?![A-Za-z])
    |\\begin\s*\{\s*(?:html|style|script)""",
    re.VERBOSE,
)
_BLOCKS = ("paragraph", "heading", "list_item", "bullet_list", "ordered_list", "td", "th", "blockquote")


def is_safe_tex(tex: str) -> bool:
    """Whether the front end may typeset `tex`."""
    return len(tex) <= MAX_TEX and not _BAD_TEX.search(tex) and "$" not in tex


def to_math(tex: str, display: bool) -> str:
    """Mark TeX for the front end's typesetter, or show it as code if it is not safe."""
    mark = "$$" if display else "$"
    if not is_safe_tex(tex):
        return f'<code dir="ltr">{escape(mark + tex + mark)}</code>'
    # the typesetter ignores everything else in an answer: see `style.frame`
    return f'<span class="mathjax_process tex2jax_process" dir="ltr">{mark}{escape(tex)}{mark}</span>'


def to_code(code: str, language: str = "") -> str:
    """Build the HTML of a code block."""
    return f'<pre dir="ltr"><code>{highlight(code.rstrip(), language)}</code></pre>\n'


def is_safe_link(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return False
    return (parts.scheme in ("http", "https") and bool(parts.netloc)) or (parts.scheme == "mailto" and bool(parts.path))


class Markdown:
    """Renders a growing text: complete blocks are rendered once, only the last one again."""

    def __init__(self) -> None:
        self._source = self._html = ""

    def __call__(self, text: str) -> str:
        """Render `text` as HTML."""
        text = CONTROL.sub("", text.replace("\r\n", "\n"))
        if not text.startswith(self._source):
            self._source = self._html = ""
        tail = text[len(self._source) :]
        tokens = _MD.parse(tail)
        starts = [t.map[0] for t in tokens if t.map and t.level == 0 and t.nesting >= 0]
        if len(starts) < 2:
            return self._html + _render(tokens)
        # later text can change only the last block
        cut = next(i for i, t in enumerate(tokens) if t.map and t.level == 0 and t.map[0] == starts[-1])
        offset = sum(len(line) for line in tail.splitlines(keepends=True)[: starts[-1]])
        self._html += _render(tokens[:cut])
        self._source = text[: len(self._source) + offset]
        return self._html + _render(tokens[cut:])


def to_html(text: str) -> str:
    """Render a complete text as HTML."""
    return Markdown()(text)


# ------------------------------------------------------------------------------------------ the parser


def _render(tokens: Sequence[Token]) -> str:
    return str(_MD.renderer.render(tokens, _MD.options, {}))


def _open(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    tokens[i].attrSet("dir", "auto")  # Arabic and Hebrew blocks read from right to left
    if tokens[i].type == "heading_open":
        tokens[i].attrSet(
            "class", "jp-toc-ignore"
        )  # the answer's headings do not belong in the notebook's table of contents
    return self.renderToken(tokens, i, options, env)


def _link(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    href = escape(str(tokens[i].attrs.get("href", "")))
    return f'<a href="{href}" target="_blank" rel="noopener noreferrer nofollow">'


def _image(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    return f"[image: {escape(tokens[i].content)}]"


def _fence(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    return to_code(tokens[i].content, tokens[i].info.split(" ")[0].strip().strip("{}."))


def _code_inline(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    return f'<code dir="ltr">{highlight(tokens[i].content, "")}</code>'


def _math(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    content, display = tokens[i].content.strip(), tokens[i].type != "math_inline"
    if "`" in content:  # two prices with code in between
        return escape(f"${content}$")
    return to_math(content, display)


def _math_block(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: Env) -> str:
    return f"<p>{to_math(tokens[i].content.strip(), True)}</p>\n"


def _bracket_inline(state: StateInline, silent: bool) -> bool:
    r"""Parse `\(x\)` and `\[x\]`, which models write more often than dollars."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in (r"\(", r"\["):
        return False
    end = state.src.find(r"\)" if opening == r"\(" else r"\]", state.pos + 2)
    if end < 0:
        return False
    if not silent:
        token = state.push("math_inline" if opening == r"\(" else "math_inline_double", "math", 0)
        token.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _bracket_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""Parse `\[`, lines, `\]`."""
    if state.is_code_block(start) or not state.src.startswith(r"\[", state.bMarks[start] + state.tShift[start]):
        return False
    for line in range(start, end):
        text = state.getLines(start, line + 1, state.sCount[start], False).strip()
        if text.endswith(r"\]"):
            if not silent:
                token = state.push("math_block", "math", 0)
                token.content, token.map, token.block = text[2:-2], [start, line + 1], True
                state.line = line + 1
            return True
    return False


def _parser() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "linkify": False})
    md.enable(["table", "strikethrough"])
    # link references span blocks: without them `[cell 12]` stays text, and blocks can be rendered one by one
    md.disable(["reference", "html_block", "html_inline"])
    md.use(dollarmath_plugin, allow_space=False, allow_digits=False, allow_labels=False, double_inline=True)
    md.use(amsmath_plugin)
    md.inline.ruler.before("escape", "bracket_math", _bracket_inline)
    md.block.ruler.before("fence", "bracket_math", _bracket_block, {"alt": ["paragraph", "blockquote", "list"]})
    md.validateLink = is_safe_link  # type: ignore[method-assign]  # the library's documented hook
    for name in _BLOCKS:
        md.add_render_rule(f"{name}_open", _open)
    for name, rule in {
        "link_open": _link,
        "image": _image,
        "fence": _fence,
        "code_block": _fence,
        "code_inline": _code_inline,
        "math_inline": _math,
        "math_inline_double": _math,
        "math_block": _math_block,
        "amsmath": _math_block,
    }.items():
        md.add_render_rule(name, rule)
    return md


_MD = _parser()
