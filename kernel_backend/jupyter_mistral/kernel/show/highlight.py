"""Converts code to HTML with a handful of classes, which `style.py` colours. Makes hidden direction marks visible."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType
from pygments.util import ClassNotFound

MAX_LENGTH = 200_000

_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "c"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (String, "s"),
    (Number, "n"),
    (Name.Decorator, "d"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Builtin, "b"),
    (Name.Tag, "k"),
)
# control codes that could repaint a terminal: all except line ends and tabs
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# control codes, and marks that make code look different from what it runs; joiners stay, emoji and Persian need them
HIDDEN_MARKS = re.compile("[\u200b\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]")


@lru_cache(256)
def highlight(code: str, language: str) -> str:
    """Escape `code` and wrap coloured tokens in spans."""
    code = code.replace("\r\n", "\n")
    lexer = _lexer(language) if len(code) <= MAX_LENGTH else None
    if lexer is None:
        return _escaped(code)
    return "".join(_span(kind, text) for kind, text in lexer.get_tokens(code))


@lru_cache(32)
def _lexer(language: str) -> Lexer | None:
    name = {"py": "python", "ipython": "python", "": "text"}.get(language.lower(), language.lower())
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(512)
def _class(kind: _TokenType) -> str:
    return next((name for parent, name in _CLASSES if kind in parent), "")


def _span(kind: _TokenType, text: str) -> str:
    name = _class(kind)
    return f'<span class="{name}">{_escaped(text)}</span>' if name else _escaped(text)


def _escaped(text: str) -> str:
    return HIDDEN_MARKS.sub(lambda m: f"⟦U+{ord(m[0]):04X}⟧", escape(text, quote=False))
