"""Extracts code, JSON, HTML and formulas from a model's text, however they are wrapped."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

PYTHON = ("python", "py", "python3", "ipython", "ipython3", "sage")
SHELL = ("bash", "sh", "shell", "zsh")
NOT_CODE = ("text", "txt", "output", "console", "plaintext", "plain", "log", "markdown", "md")

_MD = MarkdownIt("commonmark").disable("reference")
_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$])\$([^$\n]+?)\$(?!\$)|\\\((.+?)\\\)", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}```[ \t]*(\S*)[ \t]*$", re.MULTILINE)
_MAGIC_LINE = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. language: in lower case, "" if none is given."""

    language: str
    text: str


def split(text: str) -> tuple[list[Block], str]:
    """Split an answer into its fenced blocks, the last perhaps not closed, and the text around them."""
    lines, blocks, start = text.splitlines(), [], 0
    prose: list[str] = []
    for token in _MD.parse(text):
        if token.type != "fence" or token.map is None:
            continue
        language = token.info.strip().split(" ")[0].strip("{}.").lower()
        blocks.append(Block(language, token.content.rstrip("\n")))
        prose += lines[start : token.map[0]]
        start = token.map[1]
    prose += lines[start:]
    return blocks, re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip()


def drop_unused_prefill(text: str, prefill: str) -> str:
    """Remove each fence that we opened (`prefill`) if the model did not continue it, but wrote prose or opened its own."""
    at = text.find(prefill)
    while at >= 0:
        rest = text[at + len(prefill) :]
        fence = _FENCE.search(rest)
        is_used = looks_like_python(rest) if fence is None else not fence[1]
        if is_used:
            at += len(prefill) + (fence.end() if fence else len(rest))
        else:
            text = text[:at] + rest
        at = text.find(prefill, at)
    return text


def cell_of(text: str) -> tuple[str, str]:
    """The code of an answer as one cell, and the prose around it. The code is "" if there is none."""
    blocks, prose = split(text)
    if not blocks:
        return (text.strip(), "") if looks_like_python(text) else ("", text.strip())
    labelled = [b.text for b in blocks if b.language in PYTHON]
    bare = [b.text for b in blocks if not b.language and (not labelled or looks_like_python(b.text))]
    chosen = [b.text for b in blocks if b.text in labelled or b.text in bare]
    if not chosen:
        other = [b for b in blocks if b.language not in NOT_CODE]
        shell = [b.text for b in other if b.language in SHELL]
        chosen = ["%%bash\n" + "\n".join(shell)] if shell and len(shell) == len(other) else [b.text for b in other]
    return "\n\n".join(code.strip("\n") for code in chosen if code.strip()), prose


def looks_like_python(text: str) -> bool:
    """Whether `text` parses and has an effect: a lone word or a quoted sentence is not a program."""
    if "\0" in text or len(text) > 200_000:
        return False
    try:
        tree = ast.parse(_MAGIC_LINE.sub("", text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    no_effect = (ast.Name, ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp)
    statements = tree.body
    return any(not (isinstance(s, ast.Expr) and isinstance(s.value, no_effect)) for s in statements) or bool(
        not statements and _MAGIC_LINE.search(text)
    )


def unwrap(text: str, languages: tuple[str, ...]) -> str:
    """The content of the first fence with one of `languages` or none; the whole text if there is no such fence."""
    blocks, _ = split(text)
    for block in blocks:
        if block.language in (*languages, ""):
            return block.text.strip()
    return text.strip()


def html_of(text: str) -> str:
    """The HTML of an answer; "" if there is none."""
    content = unwrap(text, ("html", "htm", "xml", "svg"))
    start, end = content.find("<"), content.rfind(">")
    return content[start : end + 1] if 0 <= start < end else ""


def formulas_of(text: str) -> list[str]:
    """The formulas of an answer, without their delimiters. Without delimiters: the whole answer if it looks like TeX."""
    content = unwrap(text, ("latex", "tex", "math", "katex"))
    for pattern in (_DISPLAY, _INLINE):
        formulas = [(m[1] or m[2]).strip() for m in pattern.finditer(content)]
        if formulas:
            return formulas
    stripped = content.strip("$ \n")
    return [stripped] if re.search(r"[\\^_=+]", stripped) else []
