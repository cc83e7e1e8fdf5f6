"""Turns a text into search terms: stems, whole identifiers, and concepts shared by several words and languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from . import lexicon

_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

STOP = frozenset(lexicon.STOP.split())


def _base(word: str) -> str:
    """The word without accents."""
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A short normal form, the same for most inflections and for cognates across European languages."""
    word = _base(word.lower())
    word = word.replace("ß", "ss").split("'")[0].split("’")[0]
    if not word.isalpha() or len(word) < 4 or not word.isascii():
        return word
    for end, put in _ENDS:
        if word.endswith(end) and len(word) - len(end) + len(put) >= 3:
            word = word[: len(word) - len(end)] + put
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return word.rstrip("e") if len(word) > 3 else word


_ENDS = (
    ("ization", "iz"), ("isation", "iz"), ("ational", "at"), ("fulness", "ful"), ("ations", "at"), ("ation", "at"), ("ions", ""), ("ion", ""),
    ("izing", "iz"), ("ised", "iz"), ("ized", "iz"), ("ises", "iz"), ("izes", "iz"), ("ise", "iz"), ("ize", "iz"), ("izer", "iz"),
    ("ies", "y"), ("ied", "y"), ("sses", "ss"), ("ings", ""), ("ing", ""), ("edly", ""), ("ment", ""), ("ments", ""), ("ness", ""), ("ally", "al"), ("ly", ""),
    ("ers", ""), ("er", ""), ("ed", ""), ("es", ""), ("ss", "ss"), ("us", "us"), ("is", "is"), ("s", ""),
)  # fmt: skip


@lru_cache(maxsize=200_000)
def cognate(word: str) -> str:
    """The first letters in a spelling common to most European languages: the same for `Korrelation` and `correlation`."""
    word = _base(word.lower())
    for a, b in (
        ("ph", "f"),
        ("th", "t"),
        ("k", "c"),
        ("z", "c"),
        ("y", "i"),
        ("rr", "r"),
        ("ll", "l"),
        ("ss", "s"),
        ("tt", "t"),
    ):
        word = word.replace(a, b)
    return word[:5]


def _concepts() -> dict[str, tuple[str, ...]]:
    table: dict[str, set[str]] = {}
    for line in lexicon.CONCEPTS.strip().split("\n"):
        words = line.split()
        for word in words:
            table.setdefault(stem(word), set()).add("~" + words[0])
    return {word: tuple(sorted(names)) for word, names in table.items()}


CONCEPTS = _concepts()
_WIDE_CONCEPTS = {word: names for word, names in CONCEPTS.items() if _WIDE.search(word)}


@lru_cache(maxsize=100_000)
def parts(word: str) -> tuple[str, ...]:
    """The words inside an identifier, such as `housing_prepared` or `StandardScaler`."""
    return tuple(p for piece in word.split("_") for p in (_CAMEL.findall(piece) if piece.isascii() else [piece]) if p)


@lru_cache(maxsize=200_000)
def of_word(word: str) -> tuple[str, ...]:
    """All terms of a word or identifier: `=identifier`, stems, `^cognate` and `~concept`."""
    pieces = parts(word)
    if word.lower() in STOP:
        return ()
    terms = [f"={word.lower()}"] if len(pieces) > 1 or len(word) < 4 else []
    for piece in pieces:
        lower = piece.lower()
        if lower in STOP or (len(lower) == 1 and len(pieces) > 1):
            continue
        root = stem(piece)
        terms.append(root)
        terms += CONCEPTS.get(root, ())
        if len(piece) >= 5 and piece.isalpha():
            terms.append("^" + cognate(piece))
    stemmed = stem(word)
    if len(pieces) > 1 and stemmed in CONCEPTS:
        terms += CONCEPTS[stemmed]
    return tuple(terms)


def terms(text: str) -> Iterator[str]:
    """The terms of a text, in order, as often as they occur."""
    for word in _TOKEN.findall(text):
        yield from of_word(word) if word.isascii() or not _WIDE.search(word) else _wide(word)


_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?")


def _wide(word: str) -> Iterator[str]:
    """Terms of scripts without spaces: pairs of characters, and the concepts in the text."""
    yield from (word[i : i + 2] for i in range(len(word) - 1))
    for known, names in _WIDE_CONCEPTS.items():
        if known in word:
            yield from names
