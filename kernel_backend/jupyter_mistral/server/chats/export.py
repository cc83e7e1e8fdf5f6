"""Exports a chat as Markdown or as a notebook. Nothing runs, and no text of the chat becomes active in a page that shows it later."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from markdown_it.token import Token
from nbformat import NotebookNode, v4

from ..._version import __version__
from ...protocol.images import Image

PYTHON = {"python", "py", "python3", "ipython", "ipython3"}
NAMES = {"user": "Question", "assistant": "Answer"}
NOTES = {
    "interrupted": "The answer was interrupted here.",
    "failed": "The answer failed.",
    "streaming": "The answer was not finished at the time of the export.",
}
_MD = MarkdownIt("commonmark")
# the most permissive parser: what it takes for a tag, some front end might too
_LOOSE = MarkdownIt("commonmark", {"html": True}).enable("table")
_LOOSE.validateLink = lambda url: True  # type: ignore[method-assign]
_GAP = "\u200b"  # zero width: invisible, but it breaks tags, links and macros
_CODE_OR_MATH = re.compile(r"(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|\$\$?[^$]+\$", re.DOTALL)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#|\w+;)")
_SCHEME = re.compile(r"(s\s*c\s*r\s*i\s*p\s*t|d\s*a\s*t\s*a)(\s*)(\\?:)", re.IGNORECASE)
_MACRO = re.compile(
    r"\\(?=(?:href|url|class|style|css\w*|id|html\w*|data|require|include\w*|unicode|[gex]?def|let|(?:re)?newcommand|newenvironment)(?![A-Za-z]))"
)


def to_markdown(chat: Mapping[str, Any]) -> str:
    """The chat as one text, with images as data URLs."""
    parts = [f"# {neutral(_line(chat['title'] or 'Chat'))}"]
    for message in chat["messages"]:
        parts.append(f"## {NAMES[message['role']]}")
        for part in message["content"]:
            parts.append(f"![image]({part.to_url()})" if isinstance(part, Image) else _markdown(part))
        parts += [f"*{NOTES[message['state']]}*"] if message["state"] in NOTES else []
    return "\n\n".join(part for part in parts if part) + "\n"


def to_notebook(chat: Mapping[str, Any]) -> str:
    """nbformat 4: Python blocks as code cells without output, everything else as Markdown cells, each with its origin as metadata."""
    cells = [v4.new_markdown_cell(f"# {neutral(_line(chat['title'] or 'Chat'))}")]
    for message in chat["messages"]:
        cells += _cells(message)
    origin = {
        "chat": chat["id"],
        "version": __version__,
        "exported": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    notebook = v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "jupyter_mistral": origin,
        },
    )
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook))


def neutral(text: str) -> str:
    """Markdown prose without raw HTML, images, links that run something, and TeX macros that make such links.

    In code the characters stay readable; an invisible gap keeps them inactive if another parser does not take them for code.
    """
    pieces, at = [], 0
    for span in _CODE_OR_MATH.finditer(text):
        pieces += [_neutral_prose(text[at : span.start()]), _neutral_code(span.group(), _GAP if span["ticks"] else " ")]
        at = span.end()
    return "".join([*pieces, _neutral_prose(text[at:])])


def _neutral_prose(text: str) -> str:
    return _common(_TAG.sub("&lt;", _ENTITY.sub("&amp;", text)).replace("![", "&#33;["))


def _neutral_code(text: str, gap: str) -> str:
    text = _ENTITY.sub(f"&{_GAP}", _TAG.sub(f"<{gap}", text))
    return _common(text.replace("![", f"!{_GAP}["))


def _common(text: str) -> str:
    return _MACRO.sub(lambda _: "\\" + _GAP, _SCHEME.sub(rf"\1\2{_GAP}\3", text))


def _blocks(text: str) -> Iterator[tuple[str | None, str]]:
    """Yield (language of a top-level code block or None for prose, text) in order."""
    lines = text.splitlines(keepends=True)
    at = 0
    for token in _MD.parse(text):
        if token.type != "fence" or token.level or token.map is None:
            continue
        yield None, "".join(lines[at : token.map[0]])
        yield (token.info.split() or [""])[0], token.content
        at = token.map[1]
    yield None, "".join(lines[at:])


def _fenced(language: str, code: str) -> str:
    """A code block whose fence is longer than any backticks in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{ticks}{re.sub(r'[^A-Za-z0-9+#_.-]', '', language)}\n{code.rstrip(chr(10))}\n{ticks}"


def _markdown(text: str) -> str:
    blocks = (neutral(part.strip("\n")) if kind is None else _fenced(kind, part) for kind, part in _blocks(text))
    return _verified("\n\n".join(block for block in blocks if block.strip()))


def _verified(markdown: str) -> str:
    """The text unchanged if the most permissive parser finds nothing active in it, else with gaps everywhere, even in code.

    Mixed kinds of fences can make a text that was extracted as a block read as prose in its new place.
    """
    return _neutral_code(markdown, _GAP) if _is_active(_LOOSE.parse(markdown)) else markdown


def _is_active(tokens: Sequence[Token]) -> bool:
    return any(
        token.type in ("html_block", "html_inline", "image")
        or (token.type == "link_open" and _SCHEME.search(str(token.attrs.get("href", ""))) is not None)
        or _is_active(token.children or ())
        for token in tokens
    )


def _cells(message: Mapping[str, Any]) -> Iterator[NotebookNode]:
    origin = {"jupyter_mistral": _origin(message)}
    title, is_question = f"**{NAMES[message['role']]}**\n\n", message["role"] == "user"
    for part in message["content"]:
        if isinstance(part, Image):
            yield _picture(title, part, origin)
        else:
            for kind, text in _blocks(part):
                if kind is not None and kind.lower() in PYTHON and not is_question:
                    yield v4.new_code_cell(text.rstrip("\n"), metadata=origin)
                    continue
                source = neutral(text.strip("\n")) if kind is None else _fenced(kind, text)
                if source.strip():
                    yield v4.new_markdown_cell(title + _verified(source), metadata=origin)
                    title = ""
        title = ""
    if message["state"] in NOTES:
        yield v4.new_markdown_cell(f"{title}*{NOTES[message['state']]}*", metadata=origin)


def _picture(title: str, image: Image, origin: Mapping[str, Any]) -> NotebookNode:
    attachments = {"picture": {image.mime: base64.b64encode(image.data).decode()}}
    cell: NotebookNode = v4.new_markdown_cell(
        f"{title}![image](attachment:picture)", metadata=dict(origin), attachments=attachments
    )
    return cell


def _origin(message: Mapping[str, Any]) -> dict[str, Any]:
    origin = {"role": message["role"], "message": message["id"], "state": message["state"]}
    mine = (message["usage"] or {}).get("mistral") or {}
    return origin | {k: mine[k] for k in ("model", "quantization", "seed") if mine.get(k) not in (None, "")}


def _line(text: str) -> str:
    return " ".join(text.split())
